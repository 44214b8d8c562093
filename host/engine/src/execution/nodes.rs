//! Keeps the nodes of an execution by position, in pages: nodes that are released give their memory back, and the
//! positions of the others stay.

use super::scope::Link;
use crate::state::NodeState;
use crate::step::NodeIdx;

/// Nodes of one page. A page goes when the last of them is released.
const PAGE: usize = 32;

/// A node: what rows tell of it, and what they do not.
#[derive(Clone, Debug)]
struct Slot {
    state: NodeState,
    link: Link,
}

#[derive(Clone, Debug, Default)]
struct Page {
    slots: Vec<Slot>,
    /// How many were released.
    released: u32,
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    pages: Vec<Page>,
    /// How many positions were given out.
    len: usize,
    live: usize,
}

impl Nodes {
    /// How many positions were given out.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many nodes are kept.
    pub(super) fn n_kept(&self) -> usize {
        self.live
    }

    fn slot(&self, node: NodeIdx) -> Option<&Slot> {
        let node = node as usize;
        self.pages.get(node / PAGE)?.slots.get(node % PAGE).filter(|slot| !slot.link.released)
    }

    fn slot_mut(&mut self, node: NodeIdx) -> Option<&mut Slot> {
        let node = node as usize;
        self.pages.get_mut(node / PAGE)?.slots.get_mut(node % PAGE).filter(|slot| !slot.link.released)
    }

    /// The state of a node, unless it was released or never was.
    pub(crate) fn get(&self, node: NodeIdx) -> Option<&NodeState> {
        self.slot(node).map(|slot| &slot.state)
    }

    pub(super) fn get_mut(&mut self, node: NodeIdx) -> Option<&mut NodeState> {
        self.slot_mut(node).map(|slot| &mut slot.state)
    }

    pub(super) fn link(&self, node: NodeIdx) -> Option<&Link> {
        self.slot(node).map(|slot| &slot.link)
    }

    pub(super) fn link_mut(&mut self, node: NodeIdx) -> Option<&mut Link> {
        self.slot_mut(node).map(|slot| &mut slot.link)
    }

    /// The kept nodes, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIdx, &NodeState)> {
        let pages = (0..).zip(&self.pages);
        let slots = pages.flat_map(|(page, own)| {
            (0..)
                .zip(&own.slots)
                .map(move |(place, slot): (NodeIdx, _)| (page * PAGE as NodeIdx + place, slot))
        });
        slots.filter(|(_, slot)| !slot.link.released).map(|(node, slot)| (node, &slot.state))
    }

    /// Adds nodes that have not started.
    pub(super) fn extend(&mut self, links: impl ExactSizeIterator<Item = Link>) {
        let mut left = links.len();
        self.pages.reserve_exact((self.len + left).div_ceil(PAGE) - self.pages.len());
        for link in links {
            if self.len.is_multiple_of(PAGE) {
                // What an execution has from its start takes no more than that.
                self.pages.push(Page { slots: Vec::with_capacity(left.min(PAGE)), released: 0 });
            }
            if let Some(page) = self.pages.last_mut() {
                page.slots.push(Slot { state: NodeState::default(), link });
            }
            self.len += 1;
            self.live += 1;
            left -= 1;
        }
    }

    /// Forgets a node for good.
    pub(super) fn release(&mut self, node: NodeIdx) {
        let Some(slot) = self.slot_mut(node) else { return };
        slot.state = NodeState::default();
        slot.link.released = true;
        self.live -= 1;
        if let Some(page) = self.pages.get_mut(node as usize / PAGE) {
            page.released += 1;
            if page.released as usize == PAGE {
                page.slots = Vec::new();
            }
        }
    }
}
