//! Tests that hold for actors of both kinds: processes, and tasks of the test's own process.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Local, Spawn};

/// How a test's actors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Process,
    Local,
}

impl How {
    /// The start of this kind.
    pub fn start<P, Args, E>(
        self,
        process: Spawn<P, Args, E>,
        local: Local<P, Args, E>,
    ) -> Start<P, Args, E> {
        match self {
            Self::Process => Start::Process(process),
            Self::Local => Start::Local(local),
        }
    }
}

/// A start of one of the two kinds.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives for one line of a test, and how much larger one is changes"
)]
pub enum Start<P, Args, E = std::convert::Infallible> {
    Process(Spawn<P, Args, E>),
    Local(Local<P, Args, E>),
}

impl<P, Args, E> Start<P, Args, E> {
    pub fn grace(self, grace: Duration) -> Self {
        match self {
            Self::Process(start) => Self::Process(start.grace(grace)),
            Self::Local(start) => Self::Local(start.grace(grace)),
        }
    }

    pub fn idle(self, idle: Idle) -> Self {
        match self {
            Self::Process(start) => Self::Process(start.idle(idle)),
            Self::Local(start) => Self::Local(start.idle(idle)),
        }
    }
}

impl<P: Proxy, Args: callboard::Arguments> Start<P, Args> {
    pub async fn scope<T>(
        self,
        body: impl AsyncFnOnce(P) -> callboard::Result<T>,
    ) -> callboard::Result<T> {
        match self {
            Self::Process(start) => start.scope(body).await,
            Self::Local(start) => start.scope(body).await,
        }
    }
}

impl<P: Proxy, Args: callboard::Arguments, E: Send + 'static> IntoFuture for Start<P, Args, E> {
    type Output = Result<P, SpawnError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        match self {
            Self::Process(start) => start.into_future(),
            Self::Local(start) => start.into_future(),
        }
    }
}

/// Makes two tests of each function that takes a [`How`]; in parentheses what the attribute says.
macro_rules! both {
    ($($name:ident $(($($option:tt)*))?;)*) => {
        mod processes {
            $(
                #[callboard::test $(($($option)*))?]
                async fn $name() -> callboard::Result<()> {
                    super::$name(crate::common::How::Process).await
                }
            )*
        }

        mod locals {
            $(
                #[callboard::test $(($($option)*))?]
                async fn $name() -> callboard::Result<()> {
                    super::$name(crate::common::How::Local).await
                }
            )*
        }
    };
}

pub(crate) use both;
