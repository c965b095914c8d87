//! Calls with streams, as generated proxies make them.

use super::handle::Handle;
use crate::proxy::feeding::{FeedCall, Feeds};
use crate::proxy::streaming::StreamCall;
use crate::wire::codec::{self, Arguments, Message};

impl Handle {
    /// A call of a method that returns a stream without errors of its own.
    pub fn stream_call<Args: Arguments, T: Message>(
        &self,
        method: u16,
        args: Args,
        feeds: Option<Feeds>,
    ) -> StreamCall<'_, Args, T> {
        self.target()
            .stream_call(method, args, codec::unexpected, feeds)
    }

    /// A call of a method that returns a stream, or whose stream gives, errors of its own.
    pub fn stream_call_fallible<Args: Arguments, T: Message, E: Message>(
        &self,
        method: u16,
        args: Args,
        feeds: Option<Feeds>,
    ) -> StreamCall<'_, Args, T, E> {
        self.target()
            .stream_call(method, args, codec::decode::<E>, feeds)
    }

    /// A call of a method that takes streams.
    pub fn feed_call<Args: Arguments, T: Message>(
        &self,
        method: u16,
        args: Args,
        feeds: Feeds,
    ) -> FeedCall<'_, Args, T> {
        self.target()
            .feed_call(method, args, codec::unexpected, feeds)
    }

    /// The same of one that has errors of its own.
    pub fn feed_call_fallible<Args: Arguments, T: Message, E: Message>(
        &self,
        method: u16,
        args: Args,
        feeds: Feeds,
    ) -> FeedCall<'_, Args, T, E> {
        self.target()
            .feed_call(method, args, codec::decode::<E>, feeds)
    }
}
