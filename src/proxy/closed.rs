//! A link that there is not: what a call gets that could not be made.

use std::sync::{Arc, OnceLock};

use super::driver::Lookout;
use super::exchange::Exchange;
use super::failure::Ended;
use crate::transport::board::Geometry;
use crate::transport::idle::Idle;
use crate::transport::loopback;
use crate::transport::unreached::Unreached;

impl Exchange {
    /// One that has ended by `ended` before it began.
    pub(crate) fn closed(ended: Ended) -> Arc<Self> {
        let geometry = Geometry::new(4096, 1).expect("the sizes are possible");
        let (near, _far) = loopback::pair(geometry, 0);
        let (exchange, _ear) = Self::over(near, geometry.slots(), Idle::Park, Lookout::none());
        exchange.end(ended);
        exchange
    }

    /// That of all proxies whose link is chosen when they are used. Nothing is ever sent over it.
    pub(crate) fn nowhere() -> Arc<Self> {
        static NOWHERE: OnceLock<Arc<Exchange>> = OnceLock::new();
        let closed = || Self::closed(Ended::Unreachable(Unreached::NoWay));
        Arc::clone(NOWHERE.get_or_init(closed))
    }
}
