//! Rings among files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who imports whom, by number.
pub type Graph = BTreeMap<usize, BTreeSet<usize>>;

/// One ring for each set of nodes that reach each other: the shortest through its lowest node, which
/// comes first and is not repeated at the end.
pub fn rings(graph: &Graph) -> Vec<Vec<usize>> {
    let mut seen = BTreeSet::new();
    let mut rings = Vec::new();
    for start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(ring) = shortest_ring(graph, *start) {
            let ahead = reachable(graph, *start);
            seen.extend(ahead.into_iter().filter(|it| reachable(graph, *it).contains(start)));
            rings.push(ring);
        }
    }
    rings
}

fn reachable(graph: &Graph, start: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut next = vec![start];
    while let Some(node) = next.pop() {
        next.extend(graph.get(&node).into_iter().flatten().filter(|it| found.insert(**it)));
    }
    found
}

fn shortest_ring(graph: &Graph, start: usize) -> Option<Vec<usize>> {
    let mut seen = BTreeSet::new();
    let mut next = VecDeque::from([vec![start]]);
    while let Some(way) = next.pop_front() {
        for to in graph.get(way.last()?).into_iter().flatten() {
            if *to == start {
                return Some(way);
            }
            if seen.insert(*to) {
                next.push_back([&way[..], &[*to]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knot_is_named_once_by_its_shortest_ring() {
        let cases = [
            (vec![(1, 2), (2, 3), (1, 3)], vec![]),
            (vec![(1, 2), (2, 1)], vec![vec![1, 2]]),
            (vec![(1, 2), (2, 3), (3, 1), (2, 1)], vec![vec![1, 2]]),
            (vec![(0, 1), (1, 2), (2, 3), (3, 1), (3, 4)], vec![vec![1, 2, 3]]),
            (vec![(1, 2), (2, 1), (2, 3), (3, 4), (4, 3)], vec![vec![1, 2], vec![3, 4]]),
        ];
        for (edges, expected) in cases {
            let mut graph = Graph::new();
            for (from, to) in &edges {
                graph.entry(*from).or_default().insert(*to);
            }
            assert_eq!(rings(&graph), expected, "{edges:?}");
        }
    }
}
