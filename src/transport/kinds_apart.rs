//! What strangers have, carried as in life: the links' thread is apart from the owners'.
//!
//! Nothing of the owners' runtime says there whether the links' thread is done. So whoever waits
//! until nothing moves asks the ends themselves what each has of the other's.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::{MESSAGE_LEN_MAX, tcp_ends, unix_ends};
use crate::transport::Link;
use crate::transport::auth_key::AuthKey;
use crate::transport::board::{Geometry, Side};
use crate::transport::carrier::attend;
use crate::transport::freight::TAKEN_LEN_MAX;
use crate::transport::net::Wire;
use crate::transport::noise::{self, Records, Suite};
use crate::transport::sealed_stream::Sealed;
use crate::transport::stream::{Conduit, drive_remote, lay_out_remote};
use crate::transport::unix::pumps;

type End = Arc<Conduit<Sealed<Wire>>>;

thread_local! {
    /// Both ends of each link that this thread's test has made.
    static LAID: RefCell<Vec<[End; 2]>> = const { RefCell::new(Vec::new()) };
}

/// TCP, carried by the links' thread and, when it is calm, by the owners.
pub(crate) fn tcp_apart(geometry: Geometry) -> (Link, Link) {
    carried_apart(tcp_ends, false, geometry)
}

/// The same, where it is always calm: each end changes hands whenever it is at rest.
pub(crate) fn tcp_restless(geometry: Geometry) -> (Link, Link) {
    carried_apart(tcp_ends, true, geometry)
}

/// A Unix socket with a name, carried so, too.
pub(crate) fn unix_restless(geometry: Geometry) -> (Link, Link) {
    carried_apart(unix_ends, true, geometry)
}

fn carried_apart(ends: fn() -> [Wire; 2], is_restless: bool, geometry: Geometry) -> (Link, Link) {
    let (links, owner) = (pumps().unwrap(), Handle::current());
    let _within = links.enter();
    let [near, far] = ends();
    let keys = noise::pair(&AuthKey::from([7; 32]), Suite::preferred());
    let lay = |stream: Wire, side, records: Records| {
        let stream = Sealed::new(stream, records.rekeyed_after(50));
        let (conduit, laid) = lay_out_remote(stream, (geometry, side), (0, TAKEN_LEN_MAX));
        if is_restless {
            conduit.lock().turns.be_restless();
        }
        let (end, ended) = oneshot::channel();
        owner.spawn(attend(Arc::clone(&conduit)));
        links.spawn(drive_remote(Arc::clone(&conduit), ended, Box::new(|_| {})));
        // It is carried on until the test's runtime ends.
        owner.spawn(async move {
            let _end = end;
            std::future::pending::<()>().await;
        });
        (conduit, laid.connect(MESSAGE_LEN_MAX.into()))
    };
    let (caller, near) = lay(near, Side::Caller, keys.0);
    let (server, far) = lay(far, Side::Server, keys.1);
    LAID.with_borrow_mut(|laid| laid.push([caller, server]));
    (near, far)
}

/// How far both directions of a link are, if nothing of either is on its way.
fn stillness([near, far]: &[End; 2]) -> Option<[u64; 2]> {
    let (near, far) = (near.lock(), far.lock());
    if near.stream.is_none() || far.stream.is_none() {
        return Some([u64::MAX; 2]);
    }
    let (near, far) = (&near.pump, &far.pump);
    let is_still = near.is_still_beside(far) && far.is_still_beside(near);
    is_still.then(|| [near.sent(), far.sent()])
}

/// Lets the other tasks run until nothing moves, neither here nor on the links' thread.
pub(crate) async fn settle() {
    let mut before = None;
    loop {
        for _ in 0..20 {
            yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let still: Option<Vec<_>> = LAID.with_borrow(|laid| laid.iter().map(stillness).collect());
        // What was rung for by the first look has been heard by the second.
        if still.is_some() && still == before {
            return;
        }
        before = still;
    }
}
