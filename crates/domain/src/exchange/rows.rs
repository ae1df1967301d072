//! Rows of one kind: those of the state, and the copies that a command makes of some.

use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::mem;

use foldhash::HashMap;

/// Rows that were loaded or made since, and which of them are to be written.
#[derive(Debug, Clone)]
pub(super) struct Rows<K, V>(HashMap<K, Row<V>>);

#[derive(Debug, Clone)]
struct Row<V> {
    row: V,
    mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Loaded,
    Changed,
    New,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Ord + Hash + Copy, V> Rows<K, V> {
    /// Adds a row as it is stored.
    pub(super) fn add(&mut self, key: K, row: V) {
        self.0.insert(key, Row { row, mark: Mark::Loaded });
    }

    /// Puts a row in the place of the one that there was; one that there was none of is new. What there was, and
    /// what there is.
    pub(super) fn put(&mut self, key: K, row: V) -> (Option<V>, &V) {
        match self.0.entry(key) {
            Entry::Occupied(entry) => {
                let slot = entry.into_mut();
                if slot.mark == Mark::Loaded {
                    slot.mark = Mark::Changed;
                }
                (Some(mem::replace(&mut slot.row, row)), &slot.row)
            }
            Entry::Vacant(gap) => (None, &gap.insert(Row { row, mark: Mark::New }).row),
        }
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.0.get(&key).map(|row| &row.row)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(|row| &row.row)
    }

    /// The rows that are to be written, in the order of their keys.
    pub(super) fn into_written(self) -> Vec<V> {
        sorted(self.0.into_iter().filter(|(_, row)| row.mark != Mark::Loaded).collect())
    }

    /// The rows that are new and those that are changed, each in the order of their keys.
    pub(super) fn into_new_and_changed(self) -> (Vec<V>, Vec<V>) {
        let written = self.0.into_iter().filter(|(_, row)| row.mark != Mark::Loaded);
        let (new, changed) = written.partition::<Vec<_>, _>(|(_, row)| row.mark == Mark::New);
        (sorted(new), sorted(changed))
    }
}

fn sorted<K: Ord, V>(mut rows: Vec<(K, Row<V>)>) -> Vec<V> {
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    rows.into_iter().map(|(_, row)| row.row).collect()
}

/// So many rows are looked through faster than they are hashed.
const FEW: usize = 8;

/// Copies of rows, in the order in which they were made. Most commands touch few; those that touch
/// many get an index.
#[derive(Debug, Clone)]
pub(super) struct Copies<K, V> {
    rows: Vec<(K, V)>,
    /// Where each row stands, if they are more than a few.
    index: HashMap<K, usize>,
}

impl<K, V> Default for Copies<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Copies<K, V> {
    fn place(&self, key: K) -> Option<usize> {
        if self.rows.len() <= FEW {
            self.rows.iter().position(|(known, _)| *known == key)
        } else {
            self.index.get(&key).copied()
        }
    }

    /// The copy of a row.
    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.place(key).and_then(|place| self.rows.get(place)).map(|(_, row)| row)
    }

    /// The copy of a row, to be changed; made now where there is none. None where there is no original either.
    pub(super) fn of(&mut self, key: K, original: impl FnOnce() -> Option<V>) -> Option<&mut V> {
        let place = match self.place(key) {
            Some(place) => place,
            None => self.insert(key, original()?),
        };
        self.rows.get_mut(place).map(|(_, row)| row)
    }

    /// Adds a row that there is no copy of yet; where it stands.
    pub(super) fn insert(&mut self, key: K, row: V) -> usize {
        let place = self.rows.len();
        self.rows.push((key, row));
        if self.rows.len() == FEW + 1 {
            self.index.extend(self.rows.iter().map(|(key, _)| *key).zip(0..));
        } else if self.rows.len() > FEW {
            self.index.insert(key, place);
        }
        place
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.rows.iter()
    }

    /// Takes all copies out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.index.clear();
        self.rows.drain(..)
    }
}
