//! A bounded table with keys that are never used twice: a late message for a slot that was
//! given to someone else finds nothing.

/// Values by key.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// As a number.
    pub(super) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// From [`Self::to_bits`].
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

impl<T> Slots<T> {
    /// A table for at most `max` values.
    pub(super) const fn new(max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            max,
        }
    }

    /// From now on so many values fit.
    pub(super) const fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no more fits.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    /// Keeps a value, or gives it back if the table is full.
    pub(super) fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.is_full() {
            return Err(value);
        }
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return Ok(Key {
                index,
                generation: slot.generation,
            });
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Ok(Key {
            index,
            generation: 0,
        })
    }

    /// The value, if it is still there.
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    /// Takes the value out.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Every value with its key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = Key {
                index: index as u32,
                generation: slot.generation,
            };
            Some((key, slot.value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_keys_find_nothing_and_the_bound_holds() {
        let mut slots = Slots::new(2);
        let one = slots.insert("one").unwrap();
        let two = slots.insert("two").unwrap();
        assert_eq!(slots.insert("three"), Err("three"));
        assert_eq!(slots.remove(one), Some("one"));
        assert_eq!(slots.remove(one), None);
        let three = slots.insert("three").unwrap();
        assert_eq!((slots.get(one), slots.get(three)), (None, Some(&"three")));
        assert_eq!(Key::from_bits(three.to_bits()), three);
        assert_eq!(
            slots.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            [three, two]
        );
        assert_eq!(slots.len(), 2);
    }
}
