//! 9: presence equals the live sockets one lease after quiescence. Not judged yet.

use super::{
    Invariant,
    facts::Facts,
    record::{Record, What},
    verdict::Ruling,
};

#[derive(Debug, Default)]
pub(super) struct Presence {
    frames: u64,
}

impl Invariant for Presence {
    fn see(&mut self, record: &Record, _: &Facts) {
        self.frames += u64::from(matches!(record.what, What::Presence));
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        let note = match self.frames {
            0 => "no presence frames seen".to_owned(),
            frames => format!("{frames} presence frames seen; this version does not judge them"),
        };
        Ruling::not_judged(9, "presence equals the live sockets one lease after quiescence", note)
    }
}
