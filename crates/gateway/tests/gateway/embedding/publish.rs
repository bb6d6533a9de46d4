//! Events of the application, its reads of the log, and its reads of presence.

use serde_json::json;
use trunkline_bus::Range;
use trunkline_domain::Room;
use trunkline_gateway::Publication;
use trunkline_testbed::Redis;

use super::{Instance, until};

#[actix_web::test]
async fn event_of_one_instance_reaches_a_customer_of_the_other() {
    let redis = Redis::start().unwrap();
    let (one, other) = (Instance::of_shop("shop-1", &redis).await, Instance::of_shop("shop-2", &redis).await);
    let room: Room = "orders.17".parse().unwrap();
    let mut ann = other.open("17").await;
    ann.join("orders.17").await;

    let shipped = Publication::event("shipped", json!({"order": 7})).user("shop").id("7-shipped");
    let receipt = one.gateway.publish(&room, shipped.clone()).await.unwrap();
    assert!(!receipt.repeated);
    let frame = ann.next_of("message").await;
    let expected = json!({
        "type": "message", "room": "orders.17", "pos": receipt.pos, "id": "7-shipped", "user": "shop",
        "event": "shipped", "data": {"order": 7}, "at": frame["at"],
    });
    assert_eq!(frame, expected);

    // A repetition, at whichever instance, appends nothing.
    for instance in [&one, &other] {
        let again = instance.gateway.publish(&room, shipped.clone()).await.unwrap();
        assert_eq!((again.pos, again.repeated), (receipt.pos, true));
    }
    let delivered = Publication::event("delivered", ()).user("shop").id("7-delivered");
    let receipt = other.gateway.publish(&room, delivered).await.unwrap();
    assert_eq!(ann.next_of("message").await["event"], "delivered", "and not shipped a second time");

    let page = one.gateway.history(&room, Range::Latest(10)).await.unwrap();
    let ids: Vec<&str> = page.entries.iter().map(|entry| entry.message.id.as_str()).collect();
    assert_eq!((&ids[..], page.head), (&["7-shipped", "7-delivered"][..], receipt.pos));
}

#[actix_web::test]
async fn presence_names_the_customers_of_all_instances() {
    let redis = Redis::start().unwrap();
    let (one, other) = (Instance::of_shop("shop-1", &redis).await, Instance::of_shop("shop-2", &redis).await);
    let room: Room = "orders.17".parse().unwrap();
    assert!(one.gateway.presence(&room).await.unwrap().is_empty());
    let mut tabs = [one.open("17").await, other.open("17").await];
    for tab in &mut tabs {
        tab.join("orders.17").await;
    }
    for instance in [&one, &other] {
        until("the customer is in the room once", async || {
            let members = instance.gateway.presence(&room).await.unwrap();
            json!(members) == json!([{"user": "17", "name": "A customer"}])
        })
        .await;
    }
}

#[actix_web::test]
async fn policy_of_the_application_decides_who_hears_a_room() {
    let redis = Redis::start().unwrap();
    let shop = Instance::of_shop("shop-1", &redis).await;
    let mut ann = shop.open("17").await;
    ann.send(json!({"type": "join", "room": "orders.42"})).await;
    let refused = ann.next_of("error").await;
    assert_eq!((&refused["code"], &refused["room"]), (&json!("forbidden"), &json!("orders.42")));
    ann.join("orders.17").await;
    ann.send(json!({"type": "send", "room": "orders.17", "id": "a", "event": "shipped", "data": null})).await;
    let refused = ann.next_of("error").await;
    assert_eq!((&refused["code"], &refused["id"]), (&json!("forbidden"), &json!("a")));
}
