//! The pictures of the README: `docs/images/*.png` are copies of the screenshots that this test writes to
//! `target/screenshots`.

use tokio::join;

use crate::{person::Person, site::Site};

#[tokio::test]
async fn screenshots_of_a_conversation_for_the_readme() {
    let site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    let cai = site.person("cai").await;
    ann.resize(1200, 760).await;

    conversation(&ann, &bob, &cai).await;
    // Without focus, the text cursor does not blink in one picture and not in another.
    ann.page.execute("document.activeElement.blur()", Vec::new()).await.unwrap();
    ann.picture("chat").await;
    ann.colours("dark").await;
    ann.picture("chat-dark").await;
    ann.resize(360, 740).await;
    ann.picture("chat-narrow-dark").await;
    ann.colours("light").await;
    ann.picture("chat-narrow").await;

    cai.resize(1200, 760).await;
    cai.language("zh-CN").await;
    cai.reload().await;
    cai.until_connected().await;
    cai.picture("chat-zh").await;
    assert!(cai.text("#connection").await.starts_with("已连接"), "in Chinese");
    cai.click("header form button").await;
    cai.until("the login page", "document.getElementById('name')").await;
    cai.picture("login-zh").await;
}

async fn conversation(ann: &Person, bob: &Person, cai: &Person) {
    let mut said = Vec::new();
    for (who, text) in [
        (ann, "Morning! The release went out at nine, all green so far."),
        (bob, "Saw it. I restarted gw-2 under load on purpose, without one complaint."),
        (bob, "Every message arrived once, on all screens."),
        (cai, "/me checks the graphs"),
        (cai, "Not a blip to be seen. Write-up: https://example.org/notes/release-14"),
        (ann, "Lovely. @bob, will you do the talk on Thursday?"),
        (
            bob,
            "With pleasure. I'll kill an instance live on stage,\u{e008}\u{e007}\u{e000}and keep chatting through it.",
        ),
        (cai, "Bring two laptops, then."),
    ] {
        who.say(text).await;
        said.push(text);
        join!(seen(ann, said.len()), seen(bob, said.len()), seen(cai, said.len()));
    }
}

async fn seen(person: &Person, count: usize) {
    person.until_sees("what was said", async |me| me.messages().await.len() == count).await;
}
