//! The plan of a run: which client is in which room and when it sends. Settings and seed determine it.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use trunkline_domain::Room;

use super::settings::LoadSettings;
use crate::{CheckError, history::Micros};

/// The plan of a run.
#[derive(Debug)]
pub(crate) struct LoadPlan {
    pub(crate) seed: u64,
    pub(crate) rooms: Vec<Room>,
    pub(crate) clients: Vec<ClientPlan>,
    /// User name of the client that makes the reference read.
    pub(crate) reference_user: String,
}

/// The plan of one client.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    /// User name. Clients with the same name share a session.
    pub(crate) name: String,
    pub(crate) rooms: Vec<Room>,
    /// `None` if the client only reads.
    pub(crate) schedule: Option<SendSchedule>,
    /// Seed of what the client sends.
    pub(crate) seed: u64,
}

/// Times at which a writer sends, in microseconds since the writers began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendSchedule {
    pub(crate) first: Micros,
    pub(crate) period: Micros,
}

impl LoadPlan {
    /// Plans a run.
    ///
    /// # Errors
    /// [`CheckError::Usage`] if the settings describe no run.
    pub(crate) fn new(settings: &LoadSettings) -> Result<Self, CheckError> {
        let usage = |text: &str| Err(CheckError::Usage(text.to_owned()));
        if settings.rooms == 0 || settings.writers == 0 {
            return usage("--rooms and --writers must be at least 1");
        }
        if !(settings.rate > 0.0 && settings.rate <= 1e6) {
            return usage("--rate must be above 0 and at most 1000000 messages per second");
        }
        let seed = settings.seed.unwrap_or_else(rand::random);
        let mut rng = StdRng::seed_from_u64(seed);
        // Independent of the seed: a repeated run must not use the rooms and names of the first.
        let suffix = format!("{:06x}", rand::random::<u32>() >> 8);
        let users = settings.users_prefix.clone().unwrap_or_else(|| format!("c{suffix}"));
        let rooms = settings.rooms_prefix.clone().unwrap_or_else(|| format!("check-{suffix}"));
        let rooms: Vec<Room> = (0..settings.rooms)
            .map(|number| format!("{rooms}-{number}").parse())
            .collect::<Result<_, _>>()
            .map_err(|e| CheckError::Usage(format!("--rooms-prefix: {e}")))?;
        let room = |number: u32| rooms[number as usize % rooms.len()].clone();
        // The rate is above 0 and at most 1,000,000, so the period is at least one microsecond and fits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let period = ((f64::from(settings.writers) / settings.rate * 1e6) as Micros).max(1);
        let writers = (0..settings.writers).map(|number| ClientPlan {
            name: format!("{users}-w{number}"),
            rooms: vec![room(number)],
            schedule: Some(SendSchedule { first: rng.random_range(0..period), period }),
            seed: seed ^ u64::from(number),
        });
        let writers: Vec<_> = writers.collect();
        let readers = (0..settings.readers).map(|number| ClientPlan {
            name: format!("{users}-r{}", number / settings.tabs),
            rooms: (0..settings.rooms_per_reader.clamp(1, settings.rooms)).map(|more| room(number + more)).collect(),
            schedule: None,
            seed,
        });
        let clients = writers.into_iter().chain(readers).collect();
        Ok(Self { seed, clients, reference_user: format!("{users}-reference"), rooms })
    }
}
