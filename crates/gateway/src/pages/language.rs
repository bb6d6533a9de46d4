//! Languages, and the strings of each.

use std::{collections::HashMap, sync::LazyLock};

use actix_web::http::header::{ACCEPT_LANGUAGE, HeaderMap};

/// A language that the pages speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// English, also for whoever speaks none of ours.
    English,
    /// Simplified Chinese.
    Chinese,
}

/// Most ranges of `Accept-Language` that are looked at.
const MAX_RANGES: usize = 32;

impl Language {
    #[cfg(test)]
    const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The one that the client likes best: `Accept-Language` of RFC 9110 section 12.5.4, judged by primary subtags.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let line = headers.get(ACCEPT_LANGUAGE).and_then(|line| line.to_str().ok()).unwrap_or_default();
        let mut best = (Self::English, 0);
        for range in line.split(',').take(MAX_RANGES) {
            let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
            let weight = match weight.trim().strip_prefix("q=") {
                Some(weight) => weight.parse::<f32>().map_or(0, |weight| (weight.clamp(0.0, 1.0) * 1000.0) as u16),
                None => 1000,
            };
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let language = match primary.to_ascii_lowercase().as_str() {
                "en" | "*" => Self::English,
                "zh" => Self::Chinese,
                _ => continue,
            };
            // Of equals the first wins.
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    /// Its strings.
    pub(crate) fn strings(self) -> &'static Strings {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }
}

static ENGLISH: LazyLock<Strings> = LazyLock::new(|| Strings::parse(include_str!("../../../../web/strings/en.json")));
static CHINESE: LazyLock<Strings> = LazyLock::new(|| Strings::parse(include_str!("../../../../web/strings/zh.json")));

/// The strings of one language, by key.
pub(crate) struct Strings {
    table: HashMap<String, String>,
    data_block: String,
}

impl Strings {
    /// The files are part of the binary and tests hold them well-formed; an empty table is still better than a panic.
    fn parse(json: &str) -> Self {
        let table: HashMap<String, String> = serde_json::from_str(json).unwrap_or_default();
        let compact = serde_json::to_string(&table).unwrap_or_default();
        // In a script element, `</script` and `<!--` would be markup.
        Self { table, data_block: compact.replace('<', "\\u003c") }
    }

    /// The string; the key itself where there is none, which a test rules out.
    pub(crate) fn get<'a>(&'a self, key: &'a str) -> &'a str {
        self.table.get(key).map_or(key, String::as_str)
    }

    /// The string with `{name}` replaced.
    pub(crate) fn with(&self, key: &str, name: &str, value: &str) -> String {
        self.get(key).replace(&format!("{{{name}}}"), value)
    }

    /// The whole table as JSON, fit to stand in a `script` element.
    pub(super) fn data_block(&self) -> &str {
        &self.data_block
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn language(line: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(line).unwrap());
        Language::of(&headers)
    }

    #[test]
    fn the_best_liked_wins() {
        for (line, best) in [
            ("", Language::English),
            ("fr, de;q=0.5", Language::English),
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("zh-Hans-CN", Language::Chinese),
            ("ZH", Language::Chinese),
            ("en-GB,en;q=0.9,zh;q=0.8", Language::English),
            ("en;q=0.7, zh;q=0.8", Language::Chinese),
            ("en;q=0.8, zh;q=0.8", Language::English),
            ("zh;q=0", Language::English),
            ("zh;q=nonsense", Language::English),
            ("fr, zh;q=0.1", Language::Chinese),
            ("zhuang", Language::English),
        ] {
            assert_eq!(language(line), best, "{line}");
        }
        assert_eq!(Language::of(&HeaderMap::new()), Language::English);
    }

    #[test]
    fn languages_have_the_same_strings() {
        // Chinese has one plural form.
        let keys = |language: Language| -> BTreeSet<_> {
            language.strings().table.keys().filter(|key| !key.ends_with("_one")).cloned().collect()
        };
        assert!(keys(Language::English).len() > 50);
        assert_eq!(keys(Language::English), keys(Language::Chinese));
    }

    #[test]
    fn data_blocks_are_json_without_markup() {
        for language in Language::ALL {
            let block = language.strings().data_block();
            assert!(!block.contains('<'));
            let table: HashMap<String, String> = serde_json::from_str(block).unwrap();
            assert_eq!(table, language.strings().table);
        }
        assert_eq!(Strings::parse(r#"{"a":"</script>"}"#).data_block(), r#"{"a":"\u003c/script>"}"#);
    }

    /// Every key that a page asks for, found in the sources of the pages.
    #[test]
    fn no_string_of_a_page_is_missing() {
        let sources = [
            include_str!("chat.rs"),
            include_str!("layout.rs"),
            include_str!("login.rs"),
            include_str!("plain.rs"),
            include_str!("rooms.rs"),
        ];
        let mut asked = 0;
        for call in sources
            .iter()
            .flat_map(|source| source.split("strings.get(\"").chain(source.split("strings.with(\"")).skip(1))
        {
            let key = call.split('"').next().unwrap();
            if key.contains(|c: char| !c.is_ascii_lowercase() && c != '.' && c != '_') {
                continue;
            }
            asked += 1;
            for language in Language::ALL {
                assert!(language.strings().table.contains_key(key), "{key} in {language:?}");
            }
        }
        assert!(asked > 20, "found only {asked}");
    }

    proptest! {
        #[test]
        fn any_header_is_understood(line in "[ -~]{0,80}") {
            language(&line);
        }
    }
}
