//! Invariant 9: one lease after the last join or leave, presence equals the open sockets; until then each `presence` frame
//! is consistent with those before it, and names each user as that user is named.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    history::{ClientNumber, Micros},
    judge::{
        event::{EventKind, HistoryEvent, PresenceContent, RoomNumber, UserNumber},
        invariant::{Invariant, Violations},
        known_presence::KnownPresence,
        room_view::RoomView,
        state::HistoryState,
        verdict::{InvariantResult, UnknownUser},
    },
};

/// Largest number of users outside the run that a verdict describes.
const UNKNOWN_USERS_MAX: usize = 100;
/// Largest number of user names in the description of a violation.
const NAMES_MAX: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct PresenceInvariant {
    violations: Violations,
    /// Clients that are logged in as each user of the run.
    clients: HashMap<UserNumber, Vec<ClientNumber>>,
    unknown_users: BTreeMap<UserNumber, UnknownUserReports>,
    flickers: u64,
    comparison: Option<Comparison>,
}

/// Frames that named a user outside the run.
#[derive(Debug, Default)]
struct UnknownUserReports {
    /// Views that named the user, with the number of frames that reported it as gone.
    views: BTreeMap<(ClientNumber, RoomNumber), u64>,
    last_left: Option<Micros>,
}

/// The latest comparison of presence with the open sockets.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    /// Time of the first comparison: no client joins or leaves after it.
    since: Micros,
    at: Micros,
    views: usize,
    right: bool,
    /// The lease has passed, so every difference was a violation.
    last: bool,
}

impl Invariant for PresenceInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let HistoryEvent { t, client, ref kind } = *event;
        match *kind {
            EventKind::Client => {
                if let Some(user) = state.names.user_of(client) {
                    self.clients.entry(user).or_default().push(client);
                }
            }
            EventKind::Presence { room, count, ref content, ref misnamed } => {
                for user in misnamed {
                    self.violations.add(|| {
                        let name = state.names.user_name(*user);
                        format!("{} received a wrong display name of {name}", state.place(client, room))
                    });
                }
                let before = state.view(client, room).and_then(|view| view.presence.as_ref());
                if let Some(inconsistency) = inconsistency(before, count, content, state) {
                    self.violations.add(|| format!("{} {inconsistency}", state.place(client, room)));
                }
                self.record(t, (client, room), content, state);
            }
            EventKind::PresenceCheck { last } => self.compare(t, last, state),
            _ => {}
        }
    }

    fn result(&mut self, _: &HistoryState) -> InvariantResult {
        const TITLE: &str = "presence frames are consistent, and presence equals the open sockets after one lease";
        let note = match self.comparison {
            Some(Comparison { since, at, views, right: true, .. }) => {
                format!("right in {views} views {} ms after the last join or leave", at.saturating_sub(since) / 1000)
            }
            Some(Comparison { last: true, .. }) => "not right one lease after the last join or leave".to_owned(),
            _ if self.violations.count() > 0 => "not compared with the sockets: the run did not settle".to_owned(),
            _ => return InvariantResult::not_judged(9, TITLE, "the run did not settle"),
        };
        InvariantResult { note: Some(note), ..self.violations.result(9, TITLE) }
    }
}

impl PresenceInvariant {
    /// Returns whether presence equalled the open sockets at the latest comparison.
    pub(crate) fn is_right(&self) -> bool {
        self.comparison.is_some_and(|comparison| comparison.right)
    }

    pub(crate) fn flickers(&self) -> u64 {
        self.flickers
    }

    pub(crate) fn unknown_users(&self, state: &HistoryState) -> Vec<UnknownUser> {
        let describe = |(user, reports): (&UserNumber, &UnknownUserReports)| {
            let views_with = |least| reports.views.values().filter(|left| **left >= least).count() as u64;
            UnknownUser {
                user: state.names.user_name(*user).to_owned(),
                views: views_with(0),
                views_left: views_with(1),
                views_left_again: views_with(2),
                last_left: reports.last_left,
            }
        };
        self.unknown_users.iter().map(describe).collect()
    }

    /// Records frames about users outside the run, and frames that report a user as gone whose socket is subscribed.
    fn record(&mut self, t: Micros, view: (ClientNumber, RoomNumber), content: &PresenceContent, state: &HistoryState) {
        let (present, left): (&[_], &[_]) = match content {
            PresenceContent::CountOnly => return,
            PresenceContent::Full(users) => (users, &[]),
            PresenceContent::Diff { joined, left } => (joined, left),
        };
        for user in left {
            let has_socket = |client: &ClientNumber| state.view(*client, view.1).is_some_and(|view| view.joined);
            self.flickers += u64::from(self.clients.get(user).is_some_and(|clients| clients.iter().any(has_socket)));
        }
        for (user, reported_left) in present.iter().map(|user| (user, 0)).chain(left.iter().map(|user| (user, 1))) {
            // The client that makes the reference read joins after the first comparison: it is not an unknown user.
            let may_add = self.comparison.is_none() && self.unknown_users.len() < UNKNOWN_USERS_MAX;
            if self.clients.contains_key(user) || !(may_add || self.unknown_users.contains_key(user)) {
                continue;
            }
            let reports = self.unknown_users.entry(*user).or_default();
            *reports.views.entry(view).or_default() += reported_left;
            if reported_left > 0 {
                reports.last_left = Some(t);
            }
        }
    }

    fn compare(&mut self, t: Micros, last: bool, state: &HistoryState) {
        let live = state.live_users();
        let (mut views, mut right) = (0, true);
        for (client, room, view) in state.views().filter(|(.., view)| view.joined) {
            views += 1;
            let is_right = view.presence.as_ref().is_some_and(|known| known.equals(&live[&room]));
            right &= is_right;
            if last && !is_right {
                self.violations
                    .add(|| format!("{} {}", state.place(client, room), difference(view, &live[&room], state)));
            }
        }
        let since = self.comparison.map_or(t, |comparison| comparison.since);
        self.comparison = Some(Comparison { since, at: t, views, right, last });
    }
}

/// Describes how a frame contradicts the frames before it, if it does.
fn inconsistency(
    before: Option<&KnownPresence>,
    count: usize,
    content: &PresenceContent,
    state: &HistoryState,
) -> Option<String> {
    if let PresenceContent::Diff { joined, left } = content {
        let Some(users) = before.and_then(|before| before.users.as_ref()) else {
            return Some("received a presence difference before a full list of users".to_owned());
        };
        if let Some(user) = joined.iter().find(|user| users.contains(user)) {
            let name = state.names.user_name(*user);
            return Some(format!("was informed that {name} joined, but {name} was already present"));
        }
        if let Some(user) = left.iter().find(|user| !users.contains(user)) {
            let name = state.names.user_name(*user);
            return Some(format!("was informed that {name} left, but {name} was not present"));
        }
    }
    let named = KnownPresence::after(before.cloned(), count, content).users?.len();
    (named != count).then(|| format!("received the user count {count}, but the frames name {named} users"))
}

/// Describes how the presence that a client knows differs from the users with open sockets.
fn difference(view: &RoomView, live: &BTreeSet<UserNumber>, state: &HistoryState) -> String {
    let Some(known) = &view.presence else { return "received no presence frame".to_owned() };
    let names = |users: Vec<&UserNumber>| {
        let names: Vec<_> = users.into_iter().take(NAMES_MAX).map(|user| state.names.user_name(*user)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let counts = format!("knows {} users, but {} have open sockets", known.count, live.len());
    match &known.users {
        Some(users) => {
            let (extra, missing) = (names(users.difference(live).collect()), names(live.difference(users).collect()));
            format!("{counts}; extra: {extra}; missing: {missing}")
        }
        None => counts,
    }
}
