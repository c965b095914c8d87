//! A link to an actor of another program, over a connection that is there or still to come.

use std::sync::{Arc, OnceLock};

use tokio::runtime;
use tokio::sync::oneshot;

use super::connect::{ConnectError, Place};
use super::tie::Tie;
use crate::node::being::Being;
use crate::node::census::Life;
use crate::node::handle::{Handle, Owner};
use crate::node::output::Tails;
use crate::node::registry::{self, ActorType};
use crate::node::spawn_options::GRACE;
use crate::proxy::Caller;
use crate::proxy::driver::drive;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Death;
use crate::transport::Link;
use crate::transport::address::Address;
use crate::transport::board::{Geometry, Side};
use crate::transport::coming::Coming;
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;
use crate::transport::net::Wire;
use crate::transport::relay::Parting;
use crate::transport::sealed_stream::Sealed;
use crate::transport::stream::{Runtimes, lay_remote};
use crate::transport::unix::pumps;
use crate::transport::unreached::Unreached;
use crate::wire::chain::ActorKey;
use crate::wire::hello::{HelloError, Tables};
use crate::wire::interface::Interface;
use crate::wire::welcome::Welcome;

/// The largest rings that an actor may ask for: a caller's memory for it.
const RING_CAPACITY_MAX: u64 = 16 * 1024 * 1024;

/// Is told that the connection has ended so, at once: what is called from now on may go elsewhere.
pub(crate) type BeforeEnd = Box<dyn FnOnce(&Parting) -> Parted + Send>;

/// Is told how the actor has died, if somebody knows, before those are who wait for answers. Gives
/// what those have who call elsewhere by now.
pub(crate) type Parted = Box<dyn FnOnce(Option<&Death>) -> Option<Handle> + Send>;

/// Whoever calls over it has nothing else.
pub(crate) fn alone() -> BeforeEnd {
    Box::new(|_| nothing())
}

/// Nobody is to be told before those who wait.
pub(super) fn nothing() -> Parted {
    Box::new(|_| None)
}

/// How a connection is given to the link that waits for it; dropped, none ever comes.
pub(crate) type Way = oneshot::Sender<Sealed<Wire>>;

/// The rings that an actor asks its caller for.
///
/// # Errors
/// [`ConnectError::Hello`] when no actor asks for such.
pub(super) fn geometry(welcome: &Welcome, address: &Address) -> Result<Geometry, ConnectError> {
    Geometry::new(welcome.ring_capacity, welcome.slots)
        .ok()
        .filter(|_| welcome.ring_capacity <= RING_CAPACITY_MAX)
        .ok_or_else(|| ConnectError::Hello {
            address: address.clone(),
            source: HelloError::Foreign,
        })
}

/// Whether what waits for a connection to an actor that said `old` may go to one that says `new`.
pub(super) fn fits(old: &Welcome, new: &Welcome) -> bool {
    let rings = |welcome: &Welcome| {
        let Welcome {
            ring_capacity,
            slots,
            message_len_max,
            ..
        } = welcome;
        (*ring_capacity, *slots, *message_len_max)
    };
    rings(old) == rings(new) && old.tables == new.tables
}

/// A handle of the actor at `place` that said `welcome`. Its calls are answered once the connection
/// is there. When that is gone without a word, whoever has started the actor is asked how it ended,
/// and then all are told.
///
/// # Errors
/// [`ConnectError`]: what it said is nonsense, or there is no room.
pub(crate) fn lay(
    welcome: &Welcome,
    place: &Place,
    runtime: &runtime::Handle,
    before_end: BeforeEnd,
) -> Result<(Handle, Way), ConnectError> {
    let Place {
        address,
        blob_limit,
        ..
    } = place;
    let geometry = geometry(welcome, address)?;
    let pumps = pumps().map_err(ConnectError::Resources)?;
    let tie = Tie::new(welcome);
    let (told, parted) = (Arc::new(OnceLock::<Arc<Exchange>>::new()), tie.clone());
    let (heard, asking) = (Arc::clone(&told), pumps.clone());
    let part = move |parting: Parting, former: Parted, death: Option<Death>| {
        let former = former(death.as_ref());
        parted.part(heard.wait(), parting, death);
        // Whoever waits has been told by now: it ends nothing any more.
        drop(former);
    };
    let (asked, whose) = (place.clone(), tie.clone());
    let on_parting = Box::new(move |parting: Parting| {
        let former = before_end(&parting);
        if matches!(parting, Parting::Lost(Unreached::Closed | Unreached::Reset)) {
            asking.spawn(async move {
                let death = asked.ask_death(whose.pid()).await;
                part(parting, former, death);
            });
        } else {
            part(parting, former, None);
        }
    });
    let (coming, way) = Coming::later();
    let (links, owner) = (&pumps, runtime);
    let runtimes = Runtimes { links, owner };
    let (laid, pumping) = lay_remote(
        coming,
        (geometry, Side::Caller),
        (0, *blob_limit),
        (runtimes, on_parting as _),
    );
    tie.hold(pumping);
    let link: Link = laid.connect(welcome.message_len_max);
    let (exchange, ear) = Exchange::new(link, geometry.slots(), Idle::Park);
    exchange.set_tables(welcome.tables.clone());
    // Set once, here.
    let _ = told.set(Arc::clone(&exchange));
    runtime.spawn(drive(Arc::clone(&exchange), ear));
    let owner = Arc::new(Owner {
        life: Life {
            being: Being::Remote(tie),
            exchange: Arc::clone(&exchange),
            grace: GRACE,
        },
        tails: Tails::default(),
        link: LinkKind::Network,
        addresses: OnceLock::from(Box::from([address.clone()])),
    });
    let key = ActorKey::from_bits(welcome.machine, welcome.key);
    let limit = usize::try_from(welcome.message_len_max).unwrap_or(usize::MAX);
    // Its methods can be called by name if this program knows the type.
    let name = exchange.tables().map(Tables::name);
    let known = name.and_then(registry::find).map(ActorType::interface);
    let callee = (known.unwrap_or(const { &Interface::NONE }), key);
    let caller = Caller::new(exchange, callee, limit, owner.clone());
    Ok((Handle::new(caller, owner), way))
}
