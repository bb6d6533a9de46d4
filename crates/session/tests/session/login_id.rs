//! The id of a login, which pages hold.

use trunkline_session::Sid;

#[test]
fn login_id_identifies_a_session_and_reveals_neither_its_name_nor_its_id() {
    let user = "ann".parse().unwrap();
    let (one, other) = (Sid::new(&user), Sid::new(&user));
    let again: Sid = one.to_string().parse().unwrap();
    assert_eq!(one.login_id(), again.login_id());
    assert_ne!(one.login_id(), other.login_id());
    assert_eq!(one.login_id().len(), 32);
    assert!(!one.to_string().contains(&one.login_id()));
    assert_ne!(one.login_id(), one.tag().to_string());
}
