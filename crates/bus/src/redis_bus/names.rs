//! User names that were read before.

use std::collections::HashMap;

use trunkline_domain::UserName;

/// Parses user names, the same one once. Judging a name (its script, what it could be taken for) costs more than
/// everything else about reading an entry, and a room hears the same few people again and again.
///
/// Bounded: when full, it starts over.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Box<str>, UserName>);

impl Names {
    const MOST: usize = 1024;

    /// The name, if it is one.
    pub(super) fn parse(&mut self, text: &str) -> Option<UserName> {
        if let Some(name) = self.0.get(text) {
            return Some(name.clone());
        }
        let name: UserName = text.parse().ok()?;
        if self.0.len() == Self::MOST {
            self.0.clear();
        }
        self.0.insert(text.into(), name.clone());
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names_and_stays_small() {
        let mut names = Names::default();
        for number in 0..3 * Names::MOST {
            let text = format!("user{number}");
            for _ in 0..2 {
                assert_eq!(names.parse(&text).unwrap().as_str(), text);
            }
            assert!(names.0.len() <= Names::MOST);
        }
        assert_eq!(names.parse("no name"), None);
    }
}
