//! A head that passes through, as slices: what stays of the original, and what is put in between.
//!
//! It copies nothing of the original unless that falls into more pieces than a plan has room for;
//! whether the pieces are put together before they are written is the writer's to say. It does not
//! know which fields to drop or add; its caller says so, in order. Called by the balancer's loops.
//!
//! ```
//! use tucano_common::http1::rewrite::Rewrite;
//! let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
//! let mut scratch = Vec::new();
//! let mut rewrite = Rewrite::new(&mut scratch);
//! rewrite.keep(head, 0, 25);
//! rewrite.insert().extend_from_slice(b"Via: 1.1 t\r\n\r\n");
//! let written = rewrite.finish().slices(head, &scratch).collect::<Vec<_>>().concat();
//! assert_eq!(written, b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 t\r\n\r\n");
//! ```

use crate::limits::HEAD_SLICES_MAX;

/// Where a slice's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Source {
    #[default]
    Original,
    Scratch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    source: Source,
    start: u32,
    end: u32,
}

/// A head as it will be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    slices: [Slice; HEAD_SLICES_MAX],
    count: usize,
}

/// Builds a [`Plan`], front to back.
#[derive(Debug)]
pub struct Rewrite<'a> {
    plan: Plan,
    scratch: &'a mut Vec<u8>,
    /// Up to here the scratch's bytes are in a slice.
    planned: usize,
}

impl<'a> Rewrite<'a> {
    /// Begins with nothing; inserted bytes go behind what `scratch` has.
    pub fn new(scratch: &'a mut Vec<u8>) -> Rewrite<'a> {
        let planned = scratch.len();
        Rewrite { plan: Plan::default(), scratch, planned }
    }

    /// Keeps `original[start..end]`; where the last slice ends at `start`, it only grows.
    pub fn keep(&mut self, original: &[u8], start: usize, end: usize) {
        if start >= end {
            return;
        }
        let is_last = self.scratch.len() == self.planned;
        if is_last && self.plan.grows(start, end) {
            return;
        }
        self.plan_inserted();
        // Room for this one and for what is inserted after it; else it's copied between the
        // inserted bytes.
        if self.plan.count + 2 < HEAD_SLICES_MAX {
            self.plan.push(Source::Original, start, end);
        } else {
            self.scratch.extend_from_slice(original.get(start..end).unwrap_or(&[]));
        }
    }

    /// What is appended here comes after what was kept so far.
    pub fn insert(&mut self) -> &mut Vec<u8> {
        self.scratch
    }

    /// The plan.
    pub fn finish(mut self) -> Plan {
        self.plan_inserted();
        self.plan
    }

    fn plan_inserted(&mut self) {
        let end = self.scratch.len();
        if end > self.planned && !self.plan.grows_scratch(self.planned, end) {
            self.plan.push(Source::Scratch, self.planned, end);
        }
        self.planned = end;
    }
}

impl Plan {
    /// The head's bytes, in order, out of the buffers that the plan was made from.
    pub fn slices<'a>(
        &'a self,
        original: &'a [u8],
        scratch: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        self.slices.iter().take(self.count).map(move |slice| {
            let source = match slice.source {
                Source::Original => original,
                Source::Scratch => scratch,
            };
            source.get(slice.start as usize..slice.end as usize).unwrap_or(&[])
        })
    }

    /// How many bytes it writes.
    pub fn len(&self) -> usize {
        let lens = self.slices.iter().take(self.count).map(|slice| slice.end - slice.start);
        lens.map(|len| len as usize).sum()
    }

    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn grows(&mut self, start: usize, end: usize) -> bool {
        self.grow(Source::Original, start, end)
    }

    fn grows_scratch(&mut self, start: usize, end: usize) -> bool {
        self.grow(Source::Scratch, start, end)
    }

    fn grow(&mut self, source: Source, start: usize, end: usize) -> bool {
        let last = self.count.checked_sub(1).and_then(|last| self.slices.get_mut(last));
        match last {
            Some(slice) if slice.source == source && slice.end as usize == start => {
                slice.end = narrow(end);
                true
            }
            _ => false,
        }
    }

    fn push(&mut self, source: Source, start: usize, end: usize) {
        if let Some(slot) = self.slices.get_mut(self.count) {
            *slot = Slice { source, start: narrow(start), end: narrow(end) };
            self.count += 1;
        }
    }
}

/// Heads and scratches are far below 4 GiB.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(plan: &Plan, original: &[u8], scratch: &[u8]) -> Vec<u8> {
        let written = plan.slices(original, scratch).collect::<Vec<_>>().concat();
        assert_eq!(written.len(), plan.len());
        written
    }

    #[test]
    fn neighbours_become_one_slice() {
        let (original, mut scratch) = (b"abcdefgh", b"old".to_vec());
        let mut rewrite = Rewrite::new(&mut scratch);
        rewrite.keep(original, 0, 2);
        rewrite.keep(original, 2, 4);
        rewrite.keep(original, 5, 5);
        rewrite.insert().extend_from_slice(b"X");
        rewrite.insert().extend_from_slice(b"Y");
        rewrite.keep(original, 6, 8);
        let plan = rewrite.finish();
        assert_eq!(plan.count, 3);
        assert_eq!(written(&plan, original, &scratch), b"abcdXYgh");
    }

    #[test]
    fn more_pieces_than_slices_are_copied_in_order() {
        let original: Vec<u8> = (0..200).collect();
        for pieces in 0..60 {
            let mut scratch = Vec::new();
            let mut expected = Vec::new();
            let mut rewrite = Rewrite::new(&mut scratch);
            for piece in 0..pieces {
                rewrite.keep(&original, piece * 3, piece * 3 + 2);
                expected.extend_from_slice(&original[piece * 3..piece * 3 + 2]);
                if piece % 4 == 0 {
                    rewrite.insert().push(b'-');
                    expected.push(b'-');
                }
            }
            let plan = rewrite.finish();
            assert!(plan.count <= HEAD_SLICES_MAX);
            assert_eq!(written(&plan, &original, &scratch), expected, "{pieces} pieces");
            assert_eq!(plan.is_empty(), pieces == 0);
        }
    }
}
