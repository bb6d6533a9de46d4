//! Compares the rendered pages with the HTML blocks of `web/PAGE.md`, with the keys there replaced by the strings.

use std::collections::HashMap;

use super::{LoginFailure, LoginMethods, LoginPage, PageLanguage};

const CONTRACT: &str = include_str!("../../../../web/PAGE.md");
const LOGIN: &str = "10f110f110f110f110f110f110f110f1";
const STRINGS: &str = include_str!("../../../../web/strings/en.json");

/// Returns the HTML block under a heading, on one line, with the keys in braces replaced by the strings.
fn block(heading: &str) -> String {
    let section = CONTRACT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let html = section.split("```html\n").nth(1).unwrap().split("```").next().unwrap();
    let table: HashMap<String, String> = serde_json::from_str(STRINGS).unwrap();
    let mut html = html.replace('\n', "");
    for (key, text) in table {
        html = html.replace(&format!("{{{key}}}"), &text);
    }
    html.replace("{room}", "lobby")
}

/// Returns the rendered page from `from` on, with placeholders for the hashes and the table of strings.
fn rendered(page: maud::Markup, from: &str) -> String {
    let page = page.into_string().replace("<!DOCTYPE", "<!doctype");
    let page = page[page.find(from).unwrap()..].trim_end_matches("</html>").to_owned();
    let mut pieces = page.split("/assets/");
    let mut without = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('-').unwrap();
        without.push_str(&format!("/assets/{name}-HASH{}", &rest[16..]));
    }
    let strings = PageLanguage::English.strings().data_block();
    without.replace(strings, "{\"language\":\"en\"}")
}

fn chat_page() -> maud::Markup {
    let (room, user) = ("lobby".parse().unwrap(), "ann".parse().unwrap());
    super::chat(PageLanguage::English.strings(), &room, &user, None, LOGIN, "gw-2")
}

#[test]
fn heads() {
    assert!(rendered(chat_page(), "<!doctype").starts_with(&block("Every page")));
}

#[test]
fn login() {
    let methods = LoginMethods { name: true, provider: None };
    let login = LoginPage {
        name: "ann",
        next: Some("/rooms/lobby"),
        failure: Some(LoginFailure::NameTaken),
        attempt: "00f1".repeat(8).parse().unwrap(),
        methods: &methods,
    };
    assert_eq!(rendered(super::login(PageLanguage::English.strings(), &login), "<body"), block("Login"));
}

#[test]
fn login_with_a_provider() {
    let methods = LoginMethods { name: false, provider: Some("Example".to_owned()) };
    let login = LoginPage {
        name: "",
        next: Some("/rooms/lobby"),
        failure: Some(LoginFailure::Unavailable),
        attempt: "00f1".repeat(8).parse().unwrap(),
        methods: &methods,
    };
    let expected = block("Login with a provider").replace("{provider}", "Example");
    assert_eq!(rendered(super::login(PageLanguage::English.strings(), &login), "<body"), expected);
}

#[test]
fn plain() {
    let strings = PageLanguage::English.strings();
    assert_eq!(rendered(super::not_found(strings), "<body"), block("Any other plain page"));
    assert!(
        rendered(super::unavailable(strings, None), "<head").contains("<meta http-equiv=\"refresh\" content=\"5\">")
    );
}

#[test]
fn chat() {
    assert_eq!(rendered(chat_page(), "<body"), block("Chat"));
}
