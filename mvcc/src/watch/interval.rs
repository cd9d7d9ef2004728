//! Ranges that are asked which of them hold a key.
//!
//! A treap ordered by (start, end) in which every node knows the greatest end below it. Finding
//! the `h` ranges that hold a key among `n` takes O((h + 1) log n); adding and removing O(log n).
//! Priorities come from a counter, so the shape does not depend on what clients ask for.

use std::cmp::Ordering;

use base::KeyRange;
use bytes::Bytes;

const NIL: u32 = u32::MAX;

/// The end of a range; `Open` is above all keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Open,
}

impl End {
    fn of(range: &KeyRange) -> End {
        if range.is_open() { End::Open } else { End::Before(range.end.clone()) }
    }

    fn is_above(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => &end[..] > key,
            End::Open => true,
        }
    }
}

#[derive(Debug)]
struct Node<T> {
    start: Bytes,
    end: End,
    end_max: End,
    priority: u64,
    left: u32,
    right: u32,
    value: T,
}

/// Values by range; ranges of a single key have no place here.
#[derive(Debug)]
pub(super) struct IntervalTree<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    root: u32,
    added: u64,
}

impl<T> Default for IntervalTree<T> {
    fn default() -> IntervalTree<T> {
        IntervalTree { nodes: Vec::new(), free: Vec::new(), root: NIL, added: 0 }
    }
}

/// A well mixed number for each `n` (splitmix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl<T: Default> IntervalTree<T> {
    fn node(&self, at: u32) -> &Node<T> {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node<T> {
        &mut self.nodes[at as usize]
    }

    fn compare(&self, at: u32, start: &[u8], end: &End) -> Ordering {
        let node = self.node(at);
        node.start[..].cmp(start).then_with(|| node.end.cmp(end))
    }

    fn find(&self, range: &KeyRange) -> Option<u32> {
        let end = End::of(range);
        let mut at = self.root;
        while at != NIL {
            at = match self.compare(at, &range.key, &end) {
                Ordering::Equal => return Some(at),
                Ordering::Less => self.node(at).right,
                Ordering::Greater => self.node(at).left,
            };
        }
        None
    }

    /// The value of exactly this range.
    pub(super) fn get_mut(&mut self, range: &KeyRange) -> Option<&mut T> {
        let at = self.find(range)?;
        Some(&mut self.node_mut(at).value)
    }

    /// The value of exactly this range, new if there was none.
    pub(super) fn entry(&mut self, range: &KeyRange) -> &mut T {
        if let Some(at) = self.find(range) {
            return &mut self.node_mut(at).value;
        }
        self.added += 1;
        let end = End::of(range);
        let node = Node {
            start: range.key.clone(),
            end: end.clone(),
            end_max: end.clone(),
            priority: mix(self.added),
            left: NIL,
            right: NIL,
            value: T::default(),
        };
        let new = match self.free.pop() {
            Some(slot) => {
                *self.node_mut(slot) = node;
                slot
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 ranges")
            }
        };
        let (left, right) = self.split(self.root, &range.key, &end);
        let left = self.merge(left, new);
        self.root = self.merge(left, right);
        &mut self.node_mut(new).value
    }

    /// Forgets exactly this range.
    pub(super) fn remove(&mut self, range: &KeyRange) {
        let end = End::of(range);
        self.root = self.removed(self.root, &range.key, &end);
    }

    /// Calls `f` with the value of every range that holds `key`.
    #[inline]
    pub(super) fn for_each<'a>(&'a self, key: &[u8], f: &mut impl FnMut(&'a T)) {
        self.stab(self.root, key, f);
    }

    fn stab<'a>(&'a self, at: u32, key: &[u8], f: &mut impl FnMut(&'a T)) {
        if at == NIL {
            return;
        }
        let node = self.node(at);
        if !node.end_max.is_above(key) {
            return;
        }
        self.stab(node.left, key, f);
        if &node.start[..] <= key {
            if node.end.is_above(key) {
                f(&node.value);
            }
            self.stab(node.right, key, f);
        }
    }

    fn update(&mut self, at: u32) {
        let node = self.node(at);
        let mut end_max = &node.end;
        for child in [node.left, node.right] {
            if child != NIL {
                end_max = end_max.max(&self.node(child).end_max);
            }
        }
        if *end_max != node.end_max {
            self.node_mut(at).end_max = end_max.clone();
        }
    }

    /// Parts a subtree into what is below (start, end) and the rest.
    fn split(&mut self, at: u32, start: &[u8], end: &End) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        if self.compare(at, start, end) == Ordering::Less {
            let (left, right) = self.split(self.node(at).right, start, end);
            self.node_mut(at).right = left;
            self.update(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.node(at).left, start, end);
            self.node_mut(at).left = right;
            self.update(at);
            (left, at)
        }
    }

    /// Joins two subtrees of which all of `left` is below all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL {
            return right;
        }
        if right == NIL {
            return left;
        }
        if self.node(left).priority > self.node(right).priority {
            let below = self.merge(self.node(left).right, right);
            self.node_mut(left).right = below;
            self.update(left);
            left
        } else {
            let below = self.merge(left, self.node(right).left);
            self.node_mut(right).left = below;
            self.update(right);
            right
        }
    }

    fn removed(&mut self, at: u32, start: &[u8], end: &End) -> u32 {
        if at == NIL {
            return NIL;
        }
        match self.compare(at, start, end) {
            Ordering::Equal => {
                let (left, right) = (self.node(at).left, self.node(at).right);
                self.node_mut(at).value = T::default();
                self.free.push(at);
                return self.merge(left, right);
            }
            Ordering::Less => {
                let below = self.removed(self.node(at).right, start, end);
                self.node_mut(at).right = below;
            }
            Ordering::Greater => {
                let below = self.removed(self.node(at).left, start, end);
                self.node_mut(at).left = below;
            }
        }
        self.update(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_range() -> impl Strategy<Value = KeyRange> {
        let word = || proptest::collection::vec(b'a'..b'f', 1..3);
        (word(), prop_oneof![4 => word(), 1 => Just(vec![0])])
            .prop_map(|(key, end)| KeyRange::new(key, end))
    }

    proptest! {
        #[test]
        fn stabbing_finds_what_a_list_finds(
            ops in proptest::collection::vec((any_range(), any::<bool>()), 1..120),
            keys in proptest::collection::vec(proptest::collection::vec(b'a'..b'g', 1..4), 1..8),
        ) {
            let mut tree: IntervalTree<Option<KeyRange>> = IntervalTree::default();
            let mut list: Vec<KeyRange> = Vec::new();
            for (range, add) in ops {
                if add {
                    *tree.entry(&range) = Some(range.clone());
                    if !list.contains(&range) {
                        list.push(range);
                    }
                } else {
                    tree.remove(&range);
                    list.retain(|known| *known != range);
                    prop_assert!(tree.get_mut(&range).is_none());
                }
            }
            for key in keys {
                let mut found = Vec::new();
                tree.for_each(&key, &mut |range| found.extend(range.clone()));
                let mut expected: Vec<_> =
                    list.iter().filter(|range| range.contains(&key)).cloned().collect();
                found.sort_by(|a, b| (&a.key, &a.end).cmp(&(&b.key, &b.end)));
                expected.sort_by(|a, b| (&a.key, &a.end).cmp(&(&b.key, &b.end)));
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn many_ranges_added_in_order_stay_shallow() {
        let mut tree: IntervalTree<u32> = IntervalTree::default();
        for i in 0..20_000u32 {
            let key = format!("{i:06}");
            *tree.entry(&KeyRange::prefix(key)) = i;
        }
        fn depth(tree: &IntervalTree<u32>, at: u32) -> u32 {
            if at == NIL {
                return 0;
            }
            let node = tree.node(at);
            1 + depth(tree, node.left).max(depth(tree, node.right))
        }
        assert!(depth(&tree, tree.root) < 60);
        let mut hits = 0;
        tree.for_each(b"012345/x", &mut |i| hits += u32::from(*i == 12_345));
        assert_eq!(hits, 1);
    }
}
