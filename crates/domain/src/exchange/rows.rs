//! Rows of one kind: those of the state, and the copies that a command makes of some.

use std::hash::Hash;

use foldhash::HashMap;

/// Rows that were loaded or made since, and which of them are to be written.
#[derive(Debug, Clone)]
pub(super) struct Rows<K, V> {
    places: HashMap<K, Place>,
    stored: Vec<Stored<V>>,
    /// In the order in which they came.
    new: Vec<V>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Stored(usize),
    New(usize),
}

/// A row that the store has.
#[derive(Debug, Clone)]
struct Stored<V> {
    row: V,
    is_changed: bool,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { places: HashMap::default(), stored: Vec::new(), new: Vec::new() }
    }
}

impl<K: Ord + Hash + Copy, V> Rows<K, V> {
    /// Makes room for so many new rows.
    pub(super) fn reserve_new(&mut self, count: usize) {
        self.places.reserve(count);
        self.new.reserve(count);
    }

    /// Adds a row as it is stored. Of one that is added again, the last counts.
    pub(super) fn add(&mut self, key: K, row: V) {
        self.places.insert(key, Place::Stored(self.stored.len()));
        self.stored.push(Stored { row, is_changed: false });
    }

    /// Puts a row in the place of the one that there was; one that there was none of is new.
    pub(super) fn put(&mut self, key: K, row: V) {
        match self.places.get(&key) {
            Some(Place::Stored(place)) => {
                if let Some(stored) = self.stored.get_mut(*place) {
                    *stored = Stored { row, is_changed: true };
                }
            }
            Some(Place::New(place)) => {
                if let Some(new) = self.new.get_mut(*place) {
                    *new = row;
                }
            }
            None => {
                self.places.insert(key, Place::New(self.new.len()));
                self.new.push(row);
            }
        }
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.at(*self.places.get(&key)?)
    }

    fn at(&self, place: Place) -> Option<&V> {
        match place {
            Place::Stored(place) => self.stored.get(place).map(|stored| &stored.row),
            Place::New(place) => self.new.get(place),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.places.values().filter_map(|place| self.at(*place))
    }

    /// The rows that are new and those that are changed, each in the order of their keys.
    pub(super) fn into_new_and_changed(self, key: impl Fn(&V) -> K) -> (Vec<V>, Vec<V>) {
        let changed = self.stored.into_iter().filter(|stored| stored.is_changed).map(|stored| stored.row);
        let (mut new, mut changed) = (self.new, changed.collect::<Vec<_>>());
        new.sort_unstable_by_key(&key);
        changed.sort_unstable_by_key(&key);
        (new, changed)
    }

    /// The rows that are to be written, in the order of their keys.
    pub(super) fn into_written(self, key: impl Fn(&V) -> K) -> Vec<V> {
        let (mut new, mut written) = self.into_new_and_changed(&key);
        written.append(&mut new);
        written.sort_unstable_by_key(&key);
        written
    }
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

    /// Two copies at once; none where there is no copy of one of them, or both are the same.
    pub(super) fn pair(&mut self, one: K, other: K) -> Option<(&mut V, &mut V)> {
        let places = [self.place(one)?, self.place(other)?];
        let [(_, one), (_, other)] = self.rows.get_disjoint_mut(places).ok()?;
        Some((one, other))
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
