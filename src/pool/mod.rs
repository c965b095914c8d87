//! Pools: several actors of one type, called as one.
//!
//! A [`Pool`] starts its members, gives each call to one of them, and starts those again that die.
//! It is used through the same typed proxy as a single actor.
//!
//! ```standalone_crate
//! use callboard::pool::Pool;
//! use callboard::prelude::*;
//!
//! pub struct Squarer;
//!
//! #[actor]
//! impl Squarer {
//!     pub fn new() -> Self { Self }
//!     pub fn square(&self, number: u64) -> u64 { number * number }
//! }
//!
//! #[callboard::main]
//! async fn main() -> callboard::Result<()> {
//!     let pool = Pool::spawn(2, |_| Squarer::spawn()).await?;
//!     assert_eq!(pool.square(7).await?, 49);
//!     let squares = pool.map(1..=4, |squarer, number| squarer.square(number)).all().await?;
//!     assert_eq!(squares, [1, 4, 9, 16]);
//!     pool.shutdown().await
//! }
//! ```
#![forbid(unsafe_code)]

mod balance;
mod crew;
mod elastic;
mod hedge;
mod map;
mod member_post;
mod pools;
mod scale;
mod seat;
mod start;

pub use crate::supervision::Restart;
pub use balance::Routing;
pub use map::Map;
pub use pools::{Pool, PoolBuilder, PoolError, Size};
pub use scale::Elastic;
pub use seat::Member;
pub use start::MemberStart;
