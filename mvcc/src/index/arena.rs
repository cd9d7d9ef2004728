//! Slots addressed by a 32-bit number, in chunks so that growing never moves what is there.

const CHUNK_BITS: u32 = 7;
const CHUNK: usize = 1 << CHUNK_BITS;

/// A growing set of `T` with stable 32-bit addresses and reuse of freed ones.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Arena<T> {
        Arena { chunks: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Arena<T> {
    /// Takes a slot for `value` and returns its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = value;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first chunk grows by doubling so that small indexes stay small.
            let capacity = if self.chunks.is_empty() { 1 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let chunks = self.chunks.len();
        let chunk = self.chunks.last_mut().expect("a chunk was just made sure of");
        chunk.push(value);
        let index = (chunks - 1) * CHUNK + chunk.len() - 1;
        u32::try_from(index).expect("2^32 nodes hold more keys than memory can")
    }

    /// Frees slot `id` and returns what it held.
    pub(super) fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::take(self.get_mut(id))
    }

    pub(super) fn get(&self, id: u32) -> &T {
        &self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    /// All slots, freed ones (holding their default) included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Bytes of the slots themselves.
    pub(super) fn own_bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(Vec::capacity).sum();
        slots * size_of::<T>()
            + self.chunks.capacity() * size_of::<Vec<T>>()
            + self.free.capacity() * size_of::<u32>()
    }
}
