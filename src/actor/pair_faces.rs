//! A caller by another interface than the callee's own, as the proxy of a trait is one.

use std::time::Duration;

use super::pair::{INTERFACE, Pair, run, small};
use crate::proxy::Bound;
use crate::proxy::failure::CallError;
use crate::transport::idle::Idle;
use crate::wire::hello::Tables;
use crate::wire::interface::{Interface, Method};

/// Parts of the tester's table in another order, one method changed and one that it lacks.
const FACE: Interface = Interface {
    name: "Face",
    instance: None,
    constructors: &[],
    methods: &[Method::new("fail", 7), Method::new("none", 0)],
    parts: &[&[Method::new("get", 0), Method::new("add", 0)]],
};

/// Its methods are found by name in the callee's table; what differs there is an error of its calls
/// alone, that names the method.
#[test]
fn faces_call_what_the_callee_has() {
    run(async {
        let (pair, server) = Pair::new(small(2), Idle::Park).await;
        pair.exchange.set_tables(Tables::of(&INTERFACE));
        let face = pair.caller.cast(&FACE);
        assert_eq!(face.target().call::<_, u64>(3, (5_u64,)).await.unwrap(), 15);
        assert_eq!(face.target().call::<_, u64>(2, ()).await.unwrap(), 15);
        let bounded = face.bounded(Bound::Within(Duration::from_secs(9)));
        assert_eq!(bounded.target().call::<_, u64>(2, ()).await.unwrap(), 15);
        let error = face.target().call::<_, u64>(0, (5_u64,)).await.unwrap_err();
        assert!(matches!(error, CallError::Schema { method: "fail" }));
        let error = face.target().call::<_, u64>(1, ()).await.unwrap_err();
        assert!(matches!(error, CallError::UnknownMethod { method: "none" }));
        pair.signals.stop();
        server.await.unwrap();
    });
}
