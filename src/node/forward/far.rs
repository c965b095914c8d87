//! A far one: an actor whose proxy came in a message, before and after there is a link to it.
//!
//! All proxies of one actor that came to this process share one, and so one link. It is made at
//! their first use, and made again at the next use when it was lost; it goes with the last of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::link::{Link, Whom};
use super::{HandOnError, home_at, id_of, net, resident};
use crate::node::being::{Being, Group};
use crate::node::census::{self, Life};
use crate::node::handle::{Handle, Owner};
use crate::node::output::Tails;
use crate::node::registry::{self, ActorType};
use crate::node::remote::credentials;
use crate::node::remote::tie::Found;
use crate::node::spawn::message_len_max;
use crate::node::spawn_options::GRACE;
use crate::node::ward::Ward;
use crate::node::{family_key, itself};
use crate::proxy::Caller;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::{AuthError, Death, Ended};
use crate::proxy::target::Choose;
use crate::sys::gateway::Opener;
use crate::sys::machine;
use crate::sys::process::Exit;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::link_kind::LinkKind;
use crate::transport::unreached::Unreached;
use crate::wire::chain::ActorKey;
use crate::wire::hello::Tables;
use crate::wire::interface::Interface;
use crate::wire::passport::{ADDRESSES_MAX, Entrance, Home, Passport};

static FAR: Mutex<Option<HashMap<ActorKey, Weak<Far>>>> = Mutex::new(None);

/// See the module.
pub(crate) struct Far {
    /// Itself, for what is told of it.
    this: Weak<Self>,
    actor: ActorKey,
    interface: &'static Interface,
    tables: Arc<Tables>,
    passport: Mutex<Passport>,
    link: Mutex<Option<Link>>,
    /// The link was ended from here, and not used since.
    was_cut: AtomicBool,
}

/// Nothing here is left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Far {
    /// The one of this passport.
    fn of(passport: Passport) -> Arc<Self> {
        let actor = passport.actor();
        let mut all = lock(&FAR);
        let all = all.get_or_insert_default();
        if let Some(known) = all.get(&actor).and_then(Weak::upgrade) {
            lock(&known.passport).learn(passport);
            return known;
        }
        // Its methods can be called by name if this program knows the type.
        let known = registry::find(passport.tables.name()).map(ActorType::interface);
        let far = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            actor,
            interface: known.unwrap_or(const { &Interface::NONE }),
            tables: Arc::new(passport.tables.clone()),
            passport: Mutex::new(passport),
            link: Mutex::default(),
            was_cut: AtomicBool::new(false),
        });
        all.insert(actor, Arc::downgrade(&far));
        far
    }

    /// An untyped proxy of the actor of this passport.
    pub(super) fn handle(passport: Passport) -> Handle {
        let stated = parse(&passport.addresses);
        let known = stated.iter().find_map(credentials::find);
        // Where it is reached from here, if that is known, comes first.
        let mut addresses: Vec<_> = known.map(|known| known.at).into_iter().collect();
        addresses.extend(stated);
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        let far = Self::of(passport);
        let life = Life {
            being: Being::Many(Arc::clone(&far) as _),
            exchange: Exchange::nowhere(),
            grace: GRACE,
        };
        let owner = Owner::new(life, Tails::default(), LinkKind::SharedMemory);
        let _ = owner.addresses.set(addresses.into());
        let owner = Arc::new(owner);
        let callee = (far.interface, far.actor);
        let caller = Caller::new(
            Exchange::nowhere(),
            callee,
            message_len_max(),
            owner.clone(),
        );
        Handle::to_one(caller.of(Arc::clone(&far.tables)), owner, far)
    }

    /// The link, made if there is none or it is lost.
    fn linked(&self) -> Link {
        let mut link = lock(&self.link);
        if let Some(link) = link.as_ref().filter(|link| self.is_final(link)) {
            return link.clone();
        }
        // Relaxed: under the lock.
        self.was_cut.store(false, Ordering::Relaxed);
        let passport = lock(&self.passport).clone();
        let whom = Whom {
            actor: self.actor,
            interface: self.interface,
            pid: passport.pid,
            tables: &self.tables,
            addresses: parse(&passport.addresses),
            returns: passport.returns(),
            before: link.as_ref().and_then(Link::end),
        };
        let found = find_way(&whom, &passport);
        if let (Err(Ended::Died(_) | Ended::Stopped), Some(before)) = (&found, &*link)
            && whom.before.is_some()
        {
            // Nobody follows, or not yet: what it has ended by still holds.
            return before.clone();
        }
        let (made, lost) = match found {
            Ok(made) => (made.clone(), link.replace(made)),
            Err(ended) => (whom.closed(ended), link.take()),
        };
        drop(link);
        drop(lost);
        made
    }

    /// Whether calls over this link may be answered, or will never be by any link.
    fn is_final(&self, link: &Link) -> bool {
        link.is_open() || (link.end().is_some() && !lock(&self.passport).returns())
    }

    fn known_link(&self) -> Option<Link> {
        lock(&self.link).clone()
    }

    fn known_life(&self) -> Option<Life> {
        self.known_link()?.life
    }
}

/// The addresses that are ones.
fn parse(texts: &[String]) -> Vec<Address> {
    let texts = texts.iter().take(ADDRESSES_MAX);
    texts.flat_map(|text| text.parse()).collect()
}

/// What a link would go over that is still to be made.
fn planned(passport: &Passport) -> LinkKind {
    let own = family_key::of_this_process();
    let is_near = |home: &Home| {
        own.is_ok_and(|own| home.family == id_of(&own))
            || key_of(&home.entrance, &parse(&passport.addresses)).is_some()
    };
    if passport.machine == machine::id() && passport.home.as_ref().is_some_and(is_near) {
        LinkKind::SharedMemory
    } else {
        LinkKind::Network
    }
}

/// A link to an actor, by the shortest way that there is.
fn find_way(whom: &Whom<'_>, passport: &Passport) -> Result<Link, Ended> {
    let here = machine::id();
    if here == 0 || passport.machine != here {
        return net::connect(whom, net::credential_of(whom)?);
    }
    if let Some(resident) = resident::find(whom.actor) {
        let own = itself::own_handle(&resident.itself);
        let life = own.life().clone();
        return Ok(whom.here(life, LinkKind::Local));
    }
    let bits = whom.actor.bits();
    if bits >> 32 == u64::from(std::process::id()) {
        let life = census::find(bits).ok_or_else(|| whom.is_gone())?;
        return Ok(whom.here(life, LinkKind::SharedMemory));
    }
    let own = family_key::of_this_process();
    let own = own.map_err(|_| Ended::Unreachable(Unreached::NoRoom))?;
    match &passport.home {
        Some(home) if home.family == id_of(&own) => by_entrance(whom, &home.entrance, &own),
        home => {
            let credential = net::credential_of(whom)?;
            let near = home.as_ref();
            let near = near.and_then(|home| as_neighbour(whom, &home.entrance));
            near.map_or_else(|| net::connect(whom, credential), Ok)
        }
    }
}

/// A link by the entrance of an actor of another program of this machine. Neither side trusts what
/// the other writes: large messages are copied before they are read. None: it cannot be entered
/// from here, be it that this program has no such key, or that the name means nothing here.
fn as_neighbour(whom: &Whom<'_>, entrance: &Entrance) -> Option<Link> {
    let key = key_of(entrance, &whom.addresses)?;
    let entrance = Entrance {
        program: 0,
        ..entrance.clone()
    };
    whom.enter(&entrance, &key).ok()
}

/// The key for these addresses that opens an entrance of this user's.
fn key_of(entrance: &Entrance, addresses: &[Address]) -> Option<AuthKey> {
    let (_, user) = entrance.opener;
    if user != Opener::here().uid {
        return None;
    }
    let known = addresses.iter().filter_map(credentials::find);
    let mut keys = known.map(|credential| credential.key);
    keys.find(|key| entrance.locks.contains(&id_of(key)))
}

/// A link by the entrance of an actor of our family, which has the key `own`.
fn by_entrance(whom: &Whom<'_>, entrance: &Entrance, own: &AuthKey) -> Result<Link, Ended> {
    if entrance.locks.contains(&id_of(own)) {
        return whom.enter(entrance, own);
    }
    // It has a key of its own, which its family must have as well as others.
    let known = whom.addresses.iter().filter_map(credentials::find);
    let keys: Vec<_> = known.map(|credential| credential.key).collect();
    match (
        keys.iter().find(|key| entrance.locks.contains(&id_of(key))),
        whom.address(),
    ) {
        (Some(key), _) => whom.enter(entrance, key),
        (None, None) => Err(Ended::Unreachable(Unreached::NoWay)),
        (None, Some(address)) if keys.is_empty() => Err(Ended::Auth(AuthError::NoKey { address })),
        (None, Some(address)) => Err(Ended::Auth(AuthError::Rejected { address })),
    }
}

impl Choose for Far {
    fn choose(&self) -> Option<Caller> {
        Some(self.linked().caller)
    }
}

impl Group for Far {
    fn pid(&self) -> u32 {
        lock(&self.passport).pid
    }

    fn exit(&self) -> Option<Exit> {
        let link = self.known_link()?;
        match &link.life {
            Some(life) => life.being.exit(),
            // Of a link that is lost, another one may be made.
            None => link.exit().filter(|_| self.is_final(&link)),
        }
    }

    fn exited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>> {
        // Relaxed: who cuts and then asks does so on one thread.
        if self.was_cut.load(Ordering::Relaxed) {
            return Box::pin(async { Exit::Disconnected });
        }
        let link = self.linked();
        Box::pin(async move {
            if let Some(life) = &link.life {
                return life.exited().await;
            }
            link.caller.exchange().told_over().await;
            link.exit().unwrap_or(Exit::Disconnected)
        })
    }

    fn stop(&self) {
        match self.known_life() {
            Some(life) => life.ask_to_stop(),
            None => self.kill(),
        }
    }

    fn kill(&self) {
        if let Some(life) = self.known_life() {
            return life.being.kill();
        }
        self.was_cut.store(true, Ordering::Relaxed);
        if let Some(link) = self.known_link() {
            link.cut();
        }
    }

    fn is_overdue(&self) -> bool {
        let life = self.known_life();
        life.is_some_and(|life| life.being.is_overdue())
    }

    fn death(&self, exit: Exit) -> Death {
        let known = self.known_link();
        if let Some(Ended::Died(death)) = known
            .as_ref()
            .and_then(|link| link.caller.exchange().ended())
        {
            return death.clone();
        }
        Death::new(self.pid(), exit, None, None)
    }

    fn is_kept(&self) -> bool {
        true
    }

    fn present(&self) -> Option<Life> {
        let link = self.linked();
        let exchange = Arc::clone(link.caller.exchange());
        let itself = || Life {
            being: Being::Many(self.this.upgrade().expect("it is borrowed") as _),
            exchange,
            grace: GRACE,
        };
        Some(link.life.unwrap_or_else(itself))
    }

    fn is_foreign(&self) -> bool {
        self.known_life().is_none()
    }

    fn link(&self) -> Option<LinkKind> {
        let known = self.known_link().map(|link| link.kind);
        Some(known.unwrap_or_else(|| planned(&lock(&self.passport))))
    }

    fn passport(&self) -> Result<Passport, HandOnError> {
        Ok(lock(&self.passport).clone())
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let mut all = lock(&FAR);
        if let Some(all) = all.as_mut()
            && all
                .get(&self.actor)
                .is_some_and(|far| far.strong_count() == 0)
        {
            all.remove(&self.actor);
        }
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far")
            .field("pid", &self.pid())
            .field("link", &self.known_link())
            .finish_non_exhaustive()
    }
}

/// Where an actor lives that this process has started.
fn home_of(ward: &Ward) -> Result<Home, HandOnError> {
    let own = family_key::of_this_process()?;
    let terms = ward.terms();
    let program = if terms.is_other_program {
        0
    } else {
        machine::program()
    };
    let (keys, returns) = (terms.keys(&own), terms.berth.is_some());
    Ok(home_at(ward.entrance()?, &keys, &own, program, returns))
}

impl Handle {
    /// What of the proxy travels in a message.
    ///
    /// # Errors
    /// [`HandOnError`].
    pub(crate) fn passport(&self) -> Result<Passport, HandOnError> {
        let being = &self.life().being;
        let actor = self.caller().key();
        let (actor, home) = match being {
            Being::Many(group) => return group.passport(),
            Being::Process(ward) => (actor, Some(home_of(ward)?)),
            Being::Task(_) | Being::Itself(_) => match resident::find(actor) {
                Some(resident) => (actor, Some(resident.home()?)),
                None => (actor, None),
            },
            Being::Remote(tie) => {
                // Another one may answer by now than the one that was connected to first.
                let Found { actor, home, .. } = tie.found();
                (actor, home)
            }
        };
        let tables = self.tables().ok_or(HandOnError::Gone)?;
        Ok(Passport {
            machine: actor.machine(),
            key: actor.bits(),
            pid: being.pid(),
            tables: tables.of_callers(),
            home,
            addresses: self.addresses().iter().map(Address::to_string).collect(),
        })
    }
}
