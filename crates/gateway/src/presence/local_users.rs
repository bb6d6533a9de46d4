//! The users of one room who have connections on this instance.

use std::collections::HashMap;

use smallvec::SmallVec;
use trunkline_domain::Member;

use crate::ids::WorkerId;

/// Counts the connections in one room by user and worker. A listed user has at least one.
#[derive(Debug, Default)]
pub(super) struct LocalUsers {
    /// The number of connections on each worker; two workers fit without an allocation.
    users: HashMap<Member, SmallVec<[(WorkerId, u32); 2]>>,
}

impl LocalUsers {
    /// Adds a connection on `worker`. Returns whether it is the user's first.
    pub(super) fn add(&mut self, worker: WorkerId, user: Member) -> bool {
        let workers = self.users.entry(user).or_default();
        let first = workers.is_empty();
        match workers.iter_mut().find(|(one, _)| *one == worker) {
            Some((_, count)) => *count += 1,
            None => workers.push((worker, 1)),
        }
        first
    }

    /// Removes a connection on `worker`. If it was the user's last, returns the user as [added](Self::add) first, with the
    /// name that the presence store has.
    pub(super) fn remove(&mut self, worker: WorkerId, user: &Member) -> Option<Member> {
        let workers = self.users.get_mut(user)?;
        let place = workers.iter().position(|(one, _)| *one == worker)?;
        workers[place].1 -= 1;
        if workers[place].1 == 0 {
            workers.swap_remove(place);
        }
        if workers.is_empty() { self.users.remove_entry(user).map(|(user, _)| user) } else { None }
    }

    /// Removes all connections on `worker`. Returns the users who have none left.
    pub(super) fn remove_worker(&mut self, worker: WorkerId) -> Vec<Member> {
        let without = self.users.extract_if(|_, workers| {
            workers.retain(|(one, _)| *one != worker);
            workers.is_empty()
        });
        without.map(|(user, _)| user).collect()
    }

    /// Replaces names that were received by equal names that are stored here, so that memory holds one copy.
    pub(super) fn share_names(&self, received: &mut [Member]) {
        for name in received {
            if let Some((stored, _)) = self.users.get_key_value(name) {
                name.clone_from(stored);
            }
        }
    }

    /// Returns the users.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.users.keys()
    }

    /// Returns the number of users.
    pub(super) fn count(&self) -> usize {
        self.users.len()
    }

    /// Returns whether there are no users.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_joins_with_the_first_connection_and_leaves_with_the_last() {
        let (ann, one, two) = ("ann".parse::<Member>().unwrap(), WorkerId(1), WorkerId(2));
        let mut users = LocalUsers::default();
        assert!(users.remove(one, &ann).is_none());
        assert!(users.add(one, ann.clone()));
        assert!(!users.add(one, ann.clone()));
        assert!(!users.add(two, ann.clone()));
        assert!(users.remove(one, &ann).is_none());
        assert!(users.remove(two, &ann).is_none());
        assert!(users.remove(two, &ann).is_none(), "that worker has none");
        assert_eq!(users.count(), 1);
        assert_eq!(users.remove(one, &ann), Some(ann));
        assert!(users.is_empty());
    }

    #[test]
    fn a_user_leaves_under_the_name_of_the_first_connection() {
        let [first, second] = ["u-1 Ann", "u-1 Anna"].map(|member| member.parse::<Member>().unwrap());
        let mut users = LocalUsers::default();
        users.add(WorkerId(1), first);
        users.add(WorkerId(1), second.clone());
        assert!(users.remove(WorkerId(1), &second).is_none());
        assert_eq!(users.remove(WorkerId(1), &second).unwrap().to_string(), "u-1 Ann");
    }

    #[test]
    fn removing_a_worker_removes_all_its_connections() {
        let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| name.parse::<Member>().unwrap());
        let workers = [WorkerId(1), WorkerId(2), WorkerId(3)];
        let mut users = LocalUsers::default();
        for worker in workers {
            users.add(worker, bob.clone());
        }
        for user in [&ann, &ann, &bob] {
            users.add(workers[0], user.clone());
        }
        users.add(workers[1], eve.clone());
        assert_eq!(users.remove_worker(workers[0]), [ann]);
        assert_eq!(users.remove_worker(workers[0]), []);
        assert_eq!(users.remove_worker(workers[1]), [eve]);
        assert_eq!(users.remove_worker(workers[2]), [bob]);
        assert!(users.is_empty());
    }

    #[test]
    fn received_names_of_local_users_share_the_stored_copy() {
        let stored: Member = "ann".parse().unwrap();
        let mut users = LocalUsers::default();
        users.add(WorkerId(1), stored.clone());
        let mut received = ["bob", "ann"].map(|name| name.parse::<Member>().unwrap());
        let bob = received[0].user.as_str().as_ptr();
        users.share_names(&mut received);
        assert_eq!(received.each_ref().map(|member| member.user.as_str()), ["bob", "ann"]);
        assert_eq!(received.map(|member| member.user.as_str().as_ptr()), [bob, stored.user.as_str().as_ptr()]);
    }

    #[test]
    fn counts_of_two_workers_take_no_more_space_than_a_vec() {
        assert_eq!(size_of::<SmallVec<[(WorkerId, u32); 2]>>(), size_of::<Vec<WorkerId>>());
    }
}
