//! Who is in which room, and who writes when: all of it follows from settings and seed.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use trunkline_domain::Room;

use super::settings::Settings;
use crate::{Error, history::Micros};

/// A run before it is run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rooms: Vec<Room>,
    pub(crate) roles: Vec<Role>,
    /// The name of the one who reads afresh in the end.
    pub(crate) fresh: String,
}

/// One client of a run.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// The name to log in with; roles of one name share a session.
    pub(crate) name: String,
    pub(crate) rooms: Vec<Room>,
    pub(crate) pen: Option<Pen>,
}

/// When a writer writes: at `first`, and then every `every` microseconds, counted from the start of the writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pen {
    pub(crate) first: Micros,
    pub(crate) every: Micros,
}

impl Plan {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if settings.rooms == 0 || settings.writers == 0 {
            return usage("a run needs at least one room and one writer");
        }
        if !(settings.rate > 0.0 && settings.rate <= 1e6) {
            return usage("--rate must be above 0 and at most 1000000");
        }
        let seed = settings.seed.unwrap_or_else(rand::random);
        let mut dice = StdRng::seed_from_u64(seed);
        // Not from the seed: a repeated run must not meet the rooms and names of the first.
        let mark = format!("{:06x}", rand::random::<u32>() >> 8);
        let users = settings.users_prefix.clone().unwrap_or_else(|| format!("c{mark}"));
        let rooms = settings.rooms_prefix.clone().unwrap_or_else(|| format!("check-{mark}"));
        let rooms: Vec<Room> = (0..settings.rooms)
            .map(|number| format!("{rooms}-{number}").parse())
            .collect::<Result<_, _>>()
            .map_err(|e| Error::Usage(format!("--rooms-prefix: {e}")))?;
        let room = |number: u32| rooms[number as usize % rooms.len()].clone();
        // Rates above 0 and at most a million give periods of one microsecond and more.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let every = (f64::from(settings.writers) / settings.rate * 1e6) as Micros;
        let writers = (0..settings.writers).map(|number| Role {
            name: format!("{users}-w{number}"),
            rooms: vec![room(number)],
            pen: Some(Pen { first: dice.random_range(0..every.max(1)), every: every.max(1) }),
        });
        let writers: Vec<_> = writers.collect();
        let readers = (0..settings.readers).map(|number| Role {
            name: format!("{users}-r{}", number / settings.tabs),
            rooms: (0..settings.rooms_per_reader.clamp(1, settings.rooms)).map(|more| room(number + more)).collect(),
            pen: None,
        });
        let roles = writers.into_iter().chain(readers).collect();
        Ok(Self { seed, roles, fresh: format!("{users}-fresh"), rooms })
    }
}
