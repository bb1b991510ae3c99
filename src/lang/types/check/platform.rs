//! Defaults of params: what the command line could give depends on nothing that is built for a platform.

use std::collections::BTreeSet;

use super::super::error::TypeError;
use super::super::hir::{Builtin, ExprKind, FnParam};
use super::{Checker, Node};
use crate::base::Span;

impl Checker<'_> {
    /// Notes that what is being checked depends on the platform that is built for, unless an `on` around it says which.
    pub(super) fn uses_platform(&mut self, at: Span) {
        if let Some(from) = self.frame.node.filter(|_| !self.frame.platform_given) {
            self.platform_uses.push((from, None, at));
        }
    }

    /// The same for a call that leaves an argument away whose default is `target_platform`.
    pub(super) fn defaults_to_platform<'p>(
        &mut self,
        params: impl IntoIterator<Item = &'p FnParam>,
        given: &[bool],
        at: Span,
    ) {
        let absent = params.into_iter().zip(given).filter(|(_, given)| !**given);
        let uses = absent.filter_map(|(param, _)| param.default.as_ref()).any(|default| {
            matches!(&default.kind, ExprKind::Builtin(call) if call.builtin == Builtin::TargetPlatform)
        });
        if uses {
            self.uses_platform(at);
        }
    }

    /// Reports every param whose default depends on the platform, in itself or through what it uses.
    pub(super) fn find_platform_in_defaults(&mut self) {
        let params: BTreeSet<Node> = self
            .platform_uses
            .iter()
            .map(|(from, ..)| *from)
            .filter(|from| matches!(from, Node::Param(_)))
            .collect();
        for param in params {
            let uses = self.platform_uses.iter().filter(|(from, ..)| *from == param);
            let found = uses.filter_map(|&(_, to, at)| match to {
                None => Some((at, None)),
                Some(to) => {
                    self.platform_below(to, &mut BTreeSet::from([param])).map(|used| (at, Some(used)))
                }
            });
            if let Some((at, through)) = found.min_by_key(|(at, _)| *at) {
                self.error(TypeError::PlatformInDefault { through, at });
            }
        }
    }

    /// Where `node` depends on the platform, itself or further on.
    fn platform_below(&self, node: Node, seen: &mut BTreeSet<Node>) -> Option<Span> {
        if !seen.insert(node) {
            return None;
        }
        let uses = self.platform_uses.iter().filter(|(from, ..)| *from == node);
        uses.clone()
            .find(|(_, to, _)| to.is_none())
            .map(|(.., at)| *at)
            .or_else(|| uses.filter_map(|(_, to, _)| *to).find_map(|to| self.platform_below(to, seen)))
    }
}
