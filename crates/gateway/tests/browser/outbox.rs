//! Messages that are written while no instance answers.

use crate::site::Site;

#[tokio::test]
async fn messages_written_without_a_server_are_sent_once() {
    let mut site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    ann.say("before").await;
    bob.until_texts(&["before"]).await;

    site.kill_all();
    ann.until(
        "the page says that it is not connected",
        "document.querySelector('#connection:not([data-state=connected])')",
    )
    .await;
    ann.say("first while away").await;
    ann.say("second while away").await;
    let away = ["first while away", "second while away"];
    ann.until_sees("both as pending", async |ann| ann.unsent().await == away).await;
    ann.until("marked as such", "document.querySelectorAll('#unsent .pending').length === 2").await;
    ann.until("the banner says so", "!document.getElementById('banner').hidden").await;
    ann.picture("away").await;

    ann.reload().await;
    ann.until("no server answers", "!document.getElementById('messages')").await;
    for name in site.names() {
        site.start_again(&name).await;
    }
    ann.go("/").await;
    ann.until_connected().await;
    let all = ["before", away[0], away[1]];
    ann.until_texts(&all).await;
    bob.until_texts(&all).await;

    // A third page finds nothing to send again.
    ann.reload().await;
    ann.until_connected().await;
    ann.say("after").await;
    bob.until_texts(&["before", away[0], away[1], "after"]).await;
}
