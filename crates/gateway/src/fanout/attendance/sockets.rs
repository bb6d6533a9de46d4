//! Whose sockets of this process are in a room.

use std::collections::HashMap;

use smallvec::SmallVec;
use trunkline_domain::UserName;

use crate::fanout::WorkerId;

/// The sockets in one room, counted by user and worker. Whoever is in it has at least one.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// With how many sockets on which workers; two workers fit without an allocation.
    users: HashMap<UserName, SmallVec<[(WorkerId, u32); 2]>>,
}

impl Sockets {
    /// One more on this worker. Answers whether it is the user's first.
    pub(super) fn add(&mut self, worker: WorkerId, user: UserName) -> bool {
        let workers = self.users.entry(user).or_default();
        let first = workers.is_empty();
        match workers.iter_mut().find(|(one, _)| *one == worker) {
            Some((_, count)) => *count += 1,
            None => workers.push((worker, 1)),
        }
        first
    }

    /// One fewer on this worker. Answers whether it was the user's last.
    pub(super) fn remove(&mut self, worker: WorkerId, user: &UserName) -> bool {
        let Some(workers) = self.users.get_mut(user) else { return false };
        let Some(place) = workers.iter().position(|(one, _)| *one == worker) else { return false };
        workers[place].1 -= 1;
        if workers[place].1 == 0 {
            workers.swap_remove(place);
        }
        workers.is_empty() && self.users.remove(user).is_some()
    }

    /// None any more on this worker. Answers who has no other.
    pub(super) fn remove_all(&mut self, worker: WorkerId) -> Vec<UserName> {
        let deserted = self.users.extract_if(|_, workers| {
            workers.retain(|(one, _)| *one != worker);
            workers.is_empty()
        });
        deserted.map(|(user, _)| user).collect()
    }

    /// Puts our copies of names in place of equal ones that were read, so that those are not kept as well.
    pub(super) fn share_names(&self, read: &mut [UserName]) {
        for name in read {
            if let Some((ours, _)) = self.users.get_key_value(name) {
                name.clone_from(ours);
            }
        }
    }

    /// Everybody who has one.
    pub(super) fn users(&self) -> impl Iterator<Item = &UserName> {
        self.users.keys()
    }

    /// How many users have one.
    pub(super) fn count(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_with_the_first_socket_and_goes_with_the_last() {
        let (ann, one, two) = ("ann".parse::<UserName>().unwrap(), WorkerId::new(1), WorkerId::new(2));
        let mut sockets = Sockets::default();
        assert!(!sockets.remove(one, &ann));
        assert!(sockets.add(one, ann.clone()));
        assert!(!sockets.add(one, ann.clone()));
        assert!(!sockets.add(two, ann.clone()));
        assert!(!sockets.remove(one, &ann));
        assert!(!sockets.remove(two, &ann));
        assert!(!sockets.remove(two, &ann), "that worker has none");
        assert_eq!(sockets.count(), 1);
        assert!(sockets.remove(one, &ann));
        assert!(sockets.is_empty());
    }

    #[test]
    fn a_worker_goes_with_all_its_sockets() {
        let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| name.parse::<UserName>().unwrap());
        let workers = [WorkerId::new(1), WorkerId::new(2), WorkerId::new(3)];
        let mut sockets = Sockets::default();
        for worker in workers {
            sockets.add(worker, bob.clone());
        }
        for user in [&ann, &ann, &bob] {
            sockets.add(workers[0], user.clone());
        }
        sockets.add(workers[1], eve.clone());
        assert_eq!(sockets.remove_all(workers[0]), [ann]);
        assert_eq!(sockets.remove_all(workers[0]), []);
        assert_eq!(sockets.remove_all(workers[1]), [eve]);
        assert_eq!(sockets.remove_all(workers[2]), [bob]);
        assert!(sockets.is_empty());
    }

    #[test]
    fn what_is_read_of_our_users_is_our_copy() {
        let ours: UserName = "ann".parse().unwrap();
        let mut sockets = Sockets::default();
        sockets.add(WorkerId::new(1), ours.clone());
        let mut read = ["bob", "ann"].map(|name| name.parse::<UserName>().unwrap());
        let bob = read[0].as_str().as_ptr();
        sockets.share_names(&mut read);
        assert_eq!(read.each_ref().map(UserName::as_str), ["bob", "ann"]);
        assert_eq!(read.map(|name| name.as_str().as_ptr()), [bob, ours.as_str().as_ptr()]);
    }

    #[test]
    fn counting_two_workers_takes_no_more_than_an_empty_vec() {
        assert_eq!(size_of::<SmallVec<[(WorkerId, u32); 2]>>(), size_of::<Vec<WorkerId>>());
    }
}
