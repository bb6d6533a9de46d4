//! Text that people write, as it is shown: direction, marks, length, links; and habits of devices and languages.

use serde_json::json;

use crate::{person::Person, site::Site};

/// Puts a text into the composer and sends it: WebDriver types no combining characters.
async fn paste(person: &Person, text: &str) {
    let script = "const [text] = arguments; const field = document.getElementById('text'); field.value = text; \
                  field.dispatchEvent(new Event('input', { bubbles: true })); document.getElementById('composer').requestSubmit();";
    person.page.execute(script, vec![json!(text)]).await.unwrap();
}

#[tokio::test]
async fn odd_text_stays_in_its_row() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    let marks = format!("a{}", "\u{301}".repeat(2000));
    let lines = format!("first{}last", "\n".repeat(4000));
    let texts = [
        "plain",
        "مرحبا, how are you?",
        "\u{202e}see https://example.org/\u{202e}gro.live please",
        &marks,
        &lines,
        "write to ann@example.org or see www.example.org",
        "the end",
    ];
    for text in texts {
        paste(&ann, text).await;
    }
    ann.until_texts(&texts).await;

    let directions: Vec<String> = ann
        .ask("return [...document.querySelectorAll('#messages .text')].map((text) => getComputedStyle(text).direction)")
        .await;
    assert_eq!(directions[..2], ["ltr", "rtl"]);
    let links: Vec<(String, String, String)> = ann
        .ask("return [...document.querySelectorAll('#messages .text a')].map((a) => [a.textContent, a.href, getComputedStyle(a).unicodeBidi])")
        .await;
    let expected = [
        ("https://example.org/", "https://example.org/"),
        ("ann@example.org", "mailto:ann@example.org"),
        ("www.example.org", "https://www.example.org/"),
    ];
    assert_eq!(links, expected.map(|(text, href)| (text.to_owned(), href.to_owned(), "isolate".to_owned())));

    // Of the 2,000 marks nothing is painted outside of the row, and of the 4,000 lines a screenful is shown.
    let clipped: Vec<String> = ann
        .ask("return [...document.querySelectorAll('#messages .text')].map((text) => getComputedStyle(text).overflowY)")
        .await;
    assert!(clipped.iter().all(|overflow| overflow == "clip"));
    let height =
        "return Math.round(document.querySelector('.folded, .text:has(+ button)').getBoundingClientRect().height)";
    assert!(ann.ask::<u32>(height).await < 600);
    ann.page.execute("document.getElementById('log').scrollTop = 0", Vec::new()).await.unwrap();
    ann.picture("odd-text").await;
    ann.colours("dark").await;
    ann.resize(360, 740).await;
    ann.page.execute("document.getElementById('log').scrollTop = 0", Vec::new()).await.unwrap();
    ann.picture("odd-text-narrow-dark").await;
    ann.colours("light").await;
    ann.resize(1280, 800).await;
    ann.click("#messages .message button").await;
    assert!(ann.ask::<u32>(height).await > 60_000, "all of it, if asked for");
    assert_eq!(ann.text("#messages .message button").await, "Show less");
}

#[tokio::test]
async fn blank_text_is_not_sent() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    for blank in ["\u{200b}", "\u{2800}", "\u{3164}", "\u{feff}", " \n\t", "\u{200d}\u{fe0f}"] {
        paste(&ann, blank).await;
    }
    ann.page.execute("document.getElementById('text').value = ''", Vec::new()).await.unwrap();
    ann.say("visible").await;
    ann.until_texts(&["visible"]).await;
}

#[tokio::test]
async fn enter_breaks_the_line_on_a_touch_keyboard() {
    let site = Site::start(1).await;
    let ann = site.visitor().await;
    ann.resize(360, 740).await;
    ann.devtools("Emulation.setTouchEmulationEnabled", &json!({ "enabled": true })).await;
    ann.log_in("ann").await;
    ann.click("#text").await;
    ann.write("two\u{e007}lines").await;
    ann.until("both lines in the field", "document.getElementById('text').value === 'two\\nlines'").await;
    assert_eq!(ann.texts().await, [""; 0]);
    ann.click("#composer button").await;
    ann.until_texts(&["two\nlines"]).await;
}

#[tokio::test]
async fn dates_and_numbers_follow_the_language_of_the_page() {
    let site = Site::start(1).await;
    let ann = site.visitor().await;
    ann.language("de-DE").await;
    ann.go("/").await;
    ann.log_in("ann").await;
    ann.say("Guten Tag").await;
    ann.until_texts(&["Guten Tag"]).await;
    assert_eq!(ann.ask::<String>("return document.documentElement.lang").await, "en");
    let day = ann.text("#messages .divider").await;
    assert!(["day,", "day "].iter().any(|part| day.contains(part)) && !day.contains("tag"), "{day}");
}
