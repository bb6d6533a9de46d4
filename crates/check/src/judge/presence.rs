//! 9: presence equals the live sockets one lease after quiescence, and what each client is told on the way adds up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Invariant,
    facts::{Facts, View},
    record::{Record, RoomNumber, Told, UserNumber, What},
    verdict::{Breaches, Ruling, Stranger},
};
use crate::history::{ClientNumber, Micros};

/// Most users that are no clients of whom more is kept than the judgement needs.
const STRANGERS: usize = 100;

/// Who is in a room, as one socket was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    count: usize,
    /// `None` where only the count was told.
    users: Option<BTreeSet<UserNumber>>,
}

impl Shown {
    /// What is known after a frame, by the rules of PROTOCOL.
    pub(crate) fn after(before: Option<Self>, count: usize, told: &Told) -> Self {
        let users = match told {
            Told::Count => None,
            Told::Here(users) => Some(users.iter().copied().collect()),
            Told::Moves { came, went } => before.and_then(|before| before.users).map(|mut users| {
                users.retain(|user| !went.contains(user));
                users.extend(came);
                users
            }),
        };
        Self { count, users }
    }

    /// Whether that is who is there.
    fn is(&self, live: &BTreeSet<UserNumber>) -> bool {
        self.count == live.len() && self.users.as_ref().is_none_or(|users| users == live)
    }
}

#[derive(Debug, Default)]
pub(super) struct Presence {
    breaches: Breaches,
    /// The sockets of each user of the run, by client.
    clients: HashMap<UserNumber, Vec<ClientNumber>>,
    strangers: BTreeMap<UserNumber, Strange>,
    flickers: u64,
    rest: Option<Rest>,
}

/// What the clients were told of a user who is none of them.
#[derive(Debug, Default)]
struct Strange {
    /// Who was told of them, and how often that they went.
    views: BTreeMap<(ClientNumber, RoomNumber), u64>,
    last_went: Option<Micros>,
}

/// What the comparisons at rest said.
#[derive(Clone, Copy, Debug)]
struct Rest {
    since: Micros,
    /// The latest: when, of how many views, whether all were right, and whether they had to be.
    at: Micros,
    views: usize,
    right: bool,
    last: bool,
}

impl Invariant for Presence {
    fn see(&mut self, record: &Record, facts: &Facts) {
        let Record { t, client, ref what } = *record;
        match *what {
            What::Client => {
                if let Some(user) = facts.names.person_of(client) {
                    self.clients.entry(user).or_default().push(client);
                }
            }
            What::Presence { room, count, ref told } => {
                let before = facts.view(client, room).and_then(|view| view.present.as_ref());
                if let Some(objection) = objection(before, count, told) {
                    self.breaches.add(|| format!("{} {objection}", facts.place(client, room)));
                }
                self.note(t, (client, room), told, facts);
            }
            What::Still { last } => self.compare(t, last, facts),
            _ => {}
        }
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        const TITLE: &str = "presence equals the live sockets one lease after quiescence, and adds up on the way";
        let note = match self.rest {
            Some(Rest { since, at, views, right: true, .. }) => {
                format!(
                    "right in {views} views {} ms after everything had come to rest",
                    at.saturating_sub(since) / 1000
                )
            }
            Some(Rest { last: true, .. }) => "not right in time".to_owned(),
            _ if self.breaches.count() > 0 => "not compared with the sockets: the run did not come to rest".to_owned(),
            _ => return Ruling::not_judged(9, TITLE, "the run did not come to rest"),
        };
        Ruling { note: Some(note), ..self.breaches.ruling(9, TITLE) }
    }
}

impl Presence {
    /// Whether it was right when it was last compared.
    pub(super) fn is_right(&self) -> bool {
        self.rest.is_some_and(|rest| rest.right)
    }

    pub(super) fn flickers(&self) -> u64 {
        self.flickers
    }

    pub(super) fn strangers(&self, facts: &Facts) -> Vec<Stranger> {
        let stranger = |(user, strange): (&UserNumber, &Strange)| {
            let went = |least| strange.views.values().filter(|went| **went >= least).count() as u64;
            Stranger {
                user: facts.names.person_name(*user).to_owned(),
                told: went(0),
                went: went(1),
                went_again: went(2),
                last_went: strange.last_went,
            }
        };
        self.strangers.iter().map(stranger).collect()
    }

    /// Takes down what is told of strangers, and that somebody went who is there.
    fn note(&mut self, t: Micros, view: (ClientNumber, RoomNumber), told: &Told, facts: &Facts) {
        let (there, went): (&[_], &[_]) = match told {
            Told::Count => return,
            Told::Here(here) => (here, &[]),
            Told::Moves { came, went } => (came, went),
        };
        for user in went {
            let has_socket = |client: &ClientNumber| facts.view(*client, view.1).is_some_and(|view| view.joined);
            self.flickers += u64::from(self.clients.get(user).is_some_and(|clients| clients.iter().any(has_socket)));
        }
        for (user, gone) in there.iter().map(|user| (user, 0)).chain(went.iter().map(|user| (user, 1))) {
            // Who comes when all is at rest reads afresh.
            let is_kept = self.rest.is_none() && self.strangers.len() < STRANGERS;
            if self.clients.contains_key(user) || !(is_kept || self.strangers.contains_key(user)) {
                continue;
            }
            let strange = self.strangers.entry(*user).or_default();
            *strange.views.entry(view).or_default() += gone;
            if gone > 0 {
                strange.last_went = Some(t);
            }
        }
    }

    fn compare(&mut self, t: Micros, last: bool, facts: &Facts) {
        let live = facts.live();
        let (mut views, mut right) = (0, true);
        for (client, room, view) in facts.views().filter(|(.., view)| view.joined) {
            views += 1;
            let is_right = view.present.as_ref().is_some_and(|shown| shown.is(&live[&room]));
            right &= is_right;
            if last && !is_right {
                self.breaches
                    .add(|| format!("{} {}", facts.place(client, room), difference(view, &live[&room], facts)));
            }
        }
        let since = self.rest.map_or(t, |rest| rest.since);
        self.rest = Some(Rest { since, at: t, views, right, last });
    }
}

/// Why a frame does not fit what was told before.
fn objection(before: Option<&Shown>, count: usize, told: &Told) -> Option<String> {
    if let Told::Moves { came, went } = told {
        let Some(users) = before.and_then(|before| before.users.as_ref()) else {
            return Some("was told of a change, but not who was there before".to_owned());
        };
        if came.iter().any(|user| users.contains(user)) {
            return Some("was told that somebody came who was there".to_owned());
        }
        if !went.iter().all(|user| users.contains(user)) {
            return Some("was told that somebody went who was not there".to_owned());
        }
    }
    let named = Shown::after(before.cloned(), count, told).users?.len();
    (named != count).then(|| format!("was told that {count} are there, and of {named}"))
}

fn difference(view: &View, live: &BTreeSet<UserNumber>, facts: &Facts) -> String {
    let Some(shown) = &view.present else { return "was not told who is there".to_owned() };
    let names = |users: Vec<&UserNumber>| {
        let names: Vec<_> = users.into_iter().take(3).map(|user| facts.names.person_name(*user)).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    };
    let (more, fewer) = match &shown.users {
        Some(users) => (names(users.difference(live).collect()), names(live.difference(users).collect())),
        None => ("?".to_owned(), "?".to_owned()),
    };
    format!("was told that {} of {} are there; too many: {more}; missing: {fewer}", shown.count, live.len())
}
