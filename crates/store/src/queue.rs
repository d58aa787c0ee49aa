//! The order in which workers start queued conversations of several simulations.

use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque};

use onerun_domain::{ConversationId, SimulationId};

use crate::{MAX_TURN_DELAY, TURN_SLICE};

/// A queued conversation of a running simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedConversation {
    /// Its simulation.
    pub simulation: SimulationId,
    /// Its id.
    pub id: ConversationId,
}

/// The longest waiting conversations of one simulation.
#[derive(Clone, Debug)]
pub struct SimulationQueue {
    /// The simulation.
    pub simulation: SimulationId,
    /// The conversations, longest waiting first, each with the time of its turn ([`turn_at`]).
    pub conversations: VecDeque<(i64, ConversationId)>,
}

/// When it is a simulation's turn, whose longest waiting conversation has this number and is queued since then, as
/// [`SimulationOrder::LongestWaiting`](crate::SimulationOrder::LongestWaiting) says. Both times are in microseconds
/// since 1970.
pub fn turn_at(queued_at: i64, seq: u32) -> i64 {
    let delay = TURN_SLICE.saturating_mul(i32::try_from(seq).unwrap_or(i32::MAX)).min(MAX_TURN_DELAY);
    queued_at.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

/// The first `limit` conversations if simulations take turns. With equal times, the simulation that comes first in
/// `queues` is first.
pub fn take_turns(mut queues: Vec<SimulationQueue>, limit: usize) -> Vec<QueuedConversation> {
    let head = |queue: &SimulationQueue| queue.conversations.front().map(|(turn, _)| *turn);
    let mut heads: BinaryHeap<Reverse<(i64, usize)>> =
        queues.iter().enumerate().filter_map(|(place, queue)| Some(Reverse((head(queue)?, place)))).collect();
    let mut taken = Vec::new();
    while taken.len() < limit
        && let Some(Reverse((_, place))) = heads.pop()
        && let Some(queue) = queues.get_mut(place)
        && let Some((_, id)) = queue.conversations.pop_front()
    {
        taken.push(QueuedConversation { simulation: queue.simulation.clone(), id });
        heads.extend(head(queue).map(|turn| Reverse((turn, place))));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(letter: &str, turns: &[i64]) -> SimulationQueue {
        let id = |turn: &i64| format!("{letter}{turn:020}").parse().unwrap();
        SimulationQueue {
            simulation: letter.repeat(21).parse().unwrap(),
            conversations: turns.iter().map(|turn| (*turn, id(turn))).collect(),
        }
    }

    fn taken(queues: Vec<SimulationQueue>, limit: usize) -> Vec<String> {
        let name = |one: QueuedConversation| one.id.as_str().replace('0', "");
        take_turns(queues, limit).into_iter().map(name).collect()
    }

    #[test]
    fn simulations_take_turns() {
        let queues =
            || vec![queue("a", &[1, 2, 3, 4]), queue("b", &[2, 3]), queue("c", &[]), queue("d", &[9])];
        assert_eq!(taken(queues(), 50), ["a1", "a2", "b2", "a3", "b3", "a4", "d9"]);
        assert_eq!(taken(queues(), 3), ["a1", "a2", "b2"]);
        assert_eq!(taken(queues(), 0), Vec::<String>::new());
        // One that was queued again comes after those before it, whatever its number.
        assert_eq!(taken(vec![queue("a", &[5, 1]), queue("b", &[3])], 3), ["b3", "a5", "a1"]);
    }

    #[test]
    fn turn_comes_later_with_each_number() {
        assert_eq!(turn_at(0, 1), 10_000_000);
        assert_eq!(turn_at(0, u32::MAX), 3_600_000_000);
        assert_eq!(turn_at(i64::MAX, 1), i64::MAX);
    }
}
