//! The languages of the pages, and the strings of each.

use std::{collections::HashMap, sync::LazyLock};

use actix_web::{
    HttpMessage,
    http::header::{AcceptLanguage, Header as _, Preference, Quality},
};

/// A language of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageLanguage {
    /// English, which is also used if the client accepts none of the languages.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl PageLanguage {
    #[cfg(test)]
    const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// Returns the language that the client prefers, by the primary subtags of `Accept-Language` (RFC 9110 section
    /// 12.5.4).
    pub(crate) fn of(request: &impl HttpMessage) -> Self {
        let accepted = AcceptLanguage::parse(request).map(|header| header.0).unwrap_or_default();
        let mut best = (Self::English, Quality::ZERO);
        for range in accepted {
            let language = match &range.item {
                Preference::Any => Self::English,
                Preference::Specific(tag) if tag.primary_language() == "en" => Self::English,
                Preference::Specific(tag) if tag.primary_language() == "zh" => Self::Chinese,
                Preference::Specific(_) => continue,
            };
            // Of several with the same weight, the first counts.
            if range.quality > best.1 {
                best = (language, range.quality);
            }
        }
        best.0
    }

    /// Returns the strings of this language.
    pub(crate) fn strings(self) -> &'static PageStrings {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }
}

static ENGLISH: LazyLock<PageStrings> =
    LazyLock::new(|| PageStrings::parse(include_str!("../../../../web/strings/en.json")));
static CHINESE: LazyLock<PageStrings> =
    LazyLock::new(|| PageStrings::parse(include_str!("../../../../web/strings/zh.json")));

/// The strings of one language, by key.
pub(crate) struct PageStrings {
    table: HashMap<String, String>,
    data_block: String,
}

impl PageStrings {
    /// Parses a table. The tables are part of the binary and tests check them, so an invalid one becomes an empty table
    /// instead of a panic.
    fn parse(json: &str) -> Self {
        let table: HashMap<String, String> = serde_json::from_str(json).unwrap_or_default();
        let compact = serde_json::to_string(&table).unwrap_or_default();
        // In a script element, `</script` and `<!--` would be markup.
        Self { table, data_block: compact.replace('<', "\\u003c") }
    }

    /// Returns the string of a key. A test checks that every key that the pages use exists; a missing one is returned
    /// itself.
    pub(crate) fn get<'a>(&'a self, key: &'a str) -> &'a str {
        self.table.get(key).map_or(key, String::as_str)
    }

    /// Returns the string with `{name}` replaced.
    pub(crate) fn with(&self, key: &str, name: &str, value: &str) -> String {
        self.get(key).replace(&format!("{{{name}}}"), value)
    }

    /// Returns the whole table as JSON that is safe inside a `script` element.
    pub(super) fn data_block(&self) -> &str {
        &self.data_block
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::{http::header::ACCEPT_LANGUAGE, test::TestRequest};
    use proptest::prelude::*;

    use super::*;

    fn language(line: &str) -> PageLanguage {
        PageLanguage::of(&TestRequest::default().insert_header((ACCEPT_LANGUAGE, line)).to_http_request())
    }

    #[test]
    fn language_with_the_highest_weight_is_used() {
        for (line, best) in [
            ("", PageLanguage::English),
            ("fr, de;q=0.5", PageLanguage::English),
            ("zh-CN,zh;q=0.9,en;q=0.8", PageLanguage::Chinese),
            ("zh-Hans-CN", PageLanguage::Chinese),
            ("ZH", PageLanguage::Chinese),
            ("en-GB,en;q=0.9,zh;q=0.8", PageLanguage::English),
            ("en;q=0.7, zh;q=0.8", PageLanguage::Chinese),
            ("en;q=0.8, zh;q=0.8", PageLanguage::English),
            ("zh;q=0", PageLanguage::English),
            ("zh;q=nonsense", PageLanguage::English),
            ("fr, zh;q=0.1", PageLanguage::Chinese),
            ("zhuang", PageLanguage::English),
        ] {
            assert_eq!(language(line), best, "{line}");
        }
        assert_eq!(PageLanguage::of(&TestRequest::default().to_http_request()), PageLanguage::English);
    }

    #[test]
    fn languages_have_the_same_strings() {
        // Chinese has a single plural form.
        let keys = |language: PageLanguage| -> BTreeSet<_> {
            language.strings().table.keys().filter(|key| !key.ends_with("_one")).cloned().collect()
        };
        assert!(keys(PageLanguage::English).len() > 50);
        assert_eq!(keys(PageLanguage::English), keys(PageLanguage::Chinese));
    }

    #[test]
    fn data_blocks_are_json_without_markup() {
        for language in PageLanguage::ALL {
            let block = language.strings().data_block();
            assert!(!block.contains('<'));
            let table: HashMap<String, String> = serde_json::from_str(block).unwrap();
            assert_eq!(table, language.strings().table);
        }
        assert_eq!(PageStrings::parse(r#"{"a":"</script>"}"#).data_block(), r#"{"a":"\u003c/script>"}"#);
    }

    /// Finds the keys in the source files of the pages.
    #[test]
    fn every_string_that_a_page_uses_exists() {
        let sources = [
            include_str!("chat.rs"),
            include_str!("layout.rs"),
            include_str!("login.rs"),
            include_str!("plain.rs"),
            include_str!("rooms.rs"),
        ];
        let mut found = 0;
        for call in sources
            .iter()
            .flat_map(|source| source.split("strings.get(\"").chain(source.split("strings.with(\"")).skip(1))
        {
            let key = call.split('"').next().unwrap();
            if key.contains(|c: char| !c.is_ascii_lowercase() && c != '.' && c != '_') {
                continue;
            }
            found += 1;
            for language in PageLanguage::ALL {
                assert!(language.strings().table.contains_key(key), "{key} in {language:?}");
            }
        }
        assert!(found > 20, "found only {found}");
    }

    proptest! {
        #[test]
        fn any_header_is_accepted(line in "[ -~]{0,80}") {
            language(&line);
        }
    }
}
