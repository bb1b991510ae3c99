//! The switch.

use super::Cancel;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts")
}

#[test]
fn follows_its_parent_and_not_its_child() {
    let parent = Cancel::new();
    let (one, two) = (parent.child(), parent.child());
    one.cancel();
    assert!(one.is_cancelled());
    assert!(!parent.is_cancelled() && !two.is_cancelled());
    parent.cancel();
    assert!(two.is_cancelled() && two.child().is_cancelled());
}

#[test]
fn waiting_ends_when_it_is_turned_on_before_or_after() {
    runtime().block_on(async {
        let cancel = Cancel::new();
        let waiter = cancel.child();
        let wait = tokio::spawn(async move { waiter.cancelled().await });
        tokio::task::yield_now().await;
        cancel.cancel();
        wait.await.expect("the waiter does not panic");
        cancel.cancelled().await;
    });
}
