//! The way from the root to a leaf.

use super::TreeIndex;

/// Levels a tree can have: every inner node but the root has had at least three children, so
/// 32 levels hold more keys than memory can.
const DEPTH_MAX: usize = 32;

/// Inner nodes from the root down with the child taken in each, and the leaf they lead to.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) steps: [(u32, u8); DEPTH_MAX],
    pub(super) depth: usize,
    pub(super) leaf: u32,
}

impl Path {
    pub(super) fn push(&mut self, node: u32, slot: usize) {
        self.steps[self.depth] = (node, slot as u8);
        self.depth += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u32, usize)> {
        self.depth = self.depth.checked_sub(1)?;
        let (node, slot) = self.steps[self.depth];
        Some((node, usize::from(slot)))
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        self.steps[..self.depth].iter().map(|&(node, slot)| (node, usize::from(slot)))
    }
}

impl TreeIndex {
    pub(super) fn empty_path(&self) -> Path {
        Path { steps: [(0, 0); DEPTH_MAX], depth: 0, leaf: self.root }
    }

    /// The leaf that holds `key` if any does.
    #[inline]
    pub(super) fn leaf_of(&self, key: &[u8]) -> u32 {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            node = inner.children[inner.child_of(key)];
        }
        node
    }

    /// The way to the leaf that holds `key` if any does.
    #[inline]
    pub(super) fn path_to(&self, key: &[u8]) -> Path {
        let mut path = self.empty_path();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            let slot = inner.child_of(key);
            path.push(node, slot);
            node = inner.children[slot];
        }
        path.leaf = node;
        path
    }

    /// Moves `path` to the next leaf to the right; false if there is none.
    pub(super) fn advance(&self, path: &mut Path) -> bool {
        while let Some((node, slot)) = path.pop() {
            let inner = self.inners.get(node);
            if slot + 1 == inner.len {
                continue;
            }
            path.push(node, slot + 1);
            let mut below = inner.children[slot + 1];
            while path.depth < self.height {
                path.push(below, 0);
                below = self.inners.get(below).children[0];
            }
            path.leaf = below;
            return true;
        }
        false
    }
}
