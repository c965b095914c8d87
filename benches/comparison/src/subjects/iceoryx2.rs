//! iceoryx2: request-response and publish-subscribe over shared memory, between two processes.
//!
//! In the hot cases both sides look again and again. In the idle cases each side has a listener
//! and is woken by the other's notifier; a woken side looks for what it was woken for. Messages
//! one way are published into a bounded queue that the other side empties without sleeping.

use std::hint;

use ::iceoryx2::port::listener::Listener;
use ::iceoryx2::port::notifier::Notifier;
use ::iceoryx2::prelude::*;

use super::{blocking, iceoryx2_loans};
use crate::meter::{Flow, Meter};
use crate::stage::{Second, Stage, ready, say};
use crate::subject::{BURST, Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

/// What the second process says once it has everything that was published.
pub(super) const SETTLED: &str = "settled";

/// The first byte of the last message of a stream, and of all others.
pub(super) const LAST: u8 = 1;
pub(super) const MORE: u8 = 0;

pub struct Iceoryx2;

impl Subject for Iceoryx2 {
    fn name(&self) -> &'static str {
        "iceoryx2"
    }

    fn package(&self) -> Option<&'static str> {
        Some("iceoryx2")
    }

    fn standing(&self) -> Standing {
        Standing::Processes
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        match case {
            Case::Hot | Case::HotKib | Case::Tell | Case::TellLarge => Some(Waiting::Polls),
            Case::Idle | Case::IdlePause => Some(Waiting::Parks),
            Case::Pipelined => None,
        }
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        let root = stage.fresh_path();
        let root = root
            .to_str()
            .ok_or("the folder for temporary files has an odd name")?;
        let places = [root.to_owned(), stage.shared_prefix()];
        let node = node(&places)?;
        let start = || -> Outcome<Second> { stage.second(self, case, &places) };
        match case {
            Case::HotKib => ask::<LARGE>(case, &node, start, meter),
            Case::Tell => publish(&node, start, meter),
            Case::TellLarge => iceoryx2_loans::publish(&node, start, meter),
            _ => ask::<SMALL>(case, &node, start, meter),
        }
    }

    fn serve(&self, case: Case, arguments: &[String]) -> Outcome {
        let node = node(arguments)?;
        match case {
            Case::HotKib => answer::<LARGE>(case, &node),
            Case::Tell => subscribe(&node),
            Case::TellLarge => iceoryx2_loans::subscribe(&node),
            _ => answer::<SMALL>(case, &node),
        }
    }
}

/// A node whose files lie in a folder of this round and whose shared memory has our prefix. What
/// a killed process leaves is removed by us, so no node looks for dead ones.
pub fn node(places: &[String]) -> Outcome<Node<ipc::Service>> {
    let [root, prefix] = places else {
        return Err("the folder and the prefix are missing".into());
    };
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(root.as_bytes())?);
    config.global.prefix = FileName::new(prefix.as_bytes())?;
    config.global.node.cleanup_dead_nodes_on_creation = false;
    config.global.node.cleanup_dead_nodes_on_destruction = false;
    config.global.service.cleanup_dead_nodes_on_open = false;
    Ok(NodeBuilder::new().config(&config).create()?)
}

/// The bells of one side: the one it waits for and the one it rings.
struct Bells {
    ear: Listener<ipc::Service>,
    bell: Notifier<ipc::Service>,
}

impl Bells {
    fn open(node: &Node<ipc::Service>, heard: &str, rung: &str) -> Outcome<Self> {
        let heard = node
            .service_builder(&heard.try_into()?)
            .event()
            .open_or_create()?;
        let rung = node
            .service_builder(&rung.try_into()?)
            .event()
            .open_or_create()?;
        Ok(Self {
            ear: heard.listener_builder().create()?,
            bell: rung.notifier_builder().create()?,
        })
    }

    fn ring(&self) -> Outcome {
        self.bell.notify()?;
        Ok(())
    }

    fn wait(&self) -> Outcome {
        self.ear.blocking_wait(|_| ())?;
        Ok(())
    }
}

fn bells(case: Case, node: &Node<ipc::Service>, heard: &str, rung: &str) -> Outcome<Option<Bells>> {
    let parks = matches!(case, Case::Idle | Case::IdlePause);
    parks.then(|| Bells::open(node, heard, rung)).transpose()
}

fn ask<const N: usize>(
    case: Case,
    node: &Node<ipc::Service>,
    start: impl Fn() -> Outcome<Second>,
    meter: &mut Meter,
) -> Outcome {
    let service = node
        .service_builder(&"echo".try_into()?)
        .request_response::<[u8; N], [u8; N]>()
        .open_or_create()?;
    let client = service.client_builder().create()?;
    let bells = bells(case, node, "replies", "requests")?;
    let second = start()?;
    meter.watch(second.pid());
    blocking(meter.round_trips(async || {
        let pending = client.loan_uninit()?.write_payload([7; N]).send()?;
        if let Some(bells) = &bells {
            bells.ring()?;
        }
        loop {
            if let Some(bells) = &bells {
                bells.wait()?;
            }
            if let Some(reply) = pending.receive()? {
                hint::black_box(*reply);
                return Ok(());
            }
        }
    }))
}

fn answer<const N: usize>(case: Case, node: &Node<ipc::Service>) -> Outcome {
    let service = node
        .service_builder(&"echo".try_into()?)
        .request_response::<[u8; N], [u8; N]>()
        .open()?;
    let server = service.server_builder().create()?;
    let bells = bells(case, node, "requests", "replies")?;
    ready()?;
    loop {
        if let Some(bells) = &bells {
            bells.wait()?;
        }
        while let Some(request) = server.receive()? {
            request.loan_uninit()?.write_payload(*request).send()?;
            if let Some(bells) = &bells {
                bells.ring()?;
            }
        }
    }
}

fn publish(
    node: &Node<ipc::Service>,
    start: impl Fn() -> Outcome<Second>,
    meter: &mut Meter,
) -> Outcome {
    let service = node
        .service_builder(&"stream".try_into()?)
        .publish_subscribe::<[u8; SMALL]>()
        .subscriber_max_buffer_size(BURST + 24)
        .enable_safe_overflow(false)
        .open_or_create()?;
    let publisher = service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?;
    let mut second = start()?;
    meter.watch(second.pid());
    let send = |kind: u8| -> Outcome {
        let mut payload = [7; SMALL];
        payload[0] = kind;
        publisher.loan_uninit()?.write_payload(payload).send()?;
        Ok(())
    };
    let settle = async || {
        send(LAST)?;
        second.expect(SETTLED)
    };
    blocking(meter.tells(Flow::Stream, async || send(MORE), settle))
}

fn subscribe(node: &Node<ipc::Service>) -> Outcome {
    let service = node
        .service_builder(&"stream".try_into()?)
        .publish_subscribe::<[u8; SMALL]>()
        .open()?;
    let subscriber = service
        .subscriber_builder()
        .buffer_size(BURST + 24)
        .create()?;
    ready()?;
    let mut taken = 0_u64;
    loop {
        while let Some(message) = subscriber.receive()? {
            taken = hint::black_box(taken.wrapping_add(u64::from(message[1])));
            if message[0] == LAST {
                say(SETTLED)?;
            }
        }
    }
}
