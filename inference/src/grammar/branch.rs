//! One branch's way through a grammar.

use std::sync::Arc;

use llguidance::Matcher;

use super::{
    CompiledGrammar,
    masks::{Mask, Slot, Work},
};
use crate::sampling::{ConstraintError, TokenConstraint};

/// The state of one branch. It holds nothing of its own before its first token, so that requests in the
/// queue cost little.
pub(super) struct Branch {
    grammar: Arc<CompiledGrammar>,
    ignore_eos: bool,
    /// With `ignore_eos` what is left of the next token's mask, when it is known.
    left: Option<Mask>,
    /// The state behind the accepted tokens; `None` at the beginning, and while a mask is computed.
    matcher: Option<Matcher>,
    next: Next,
}

/// The mask of the next token.
enum Next {
    Known(Arc<Mask>),
    Computed(Arc<Slot>),
    Failed(ConstraintError),
}

impl Branch {
    pub(super) fn new(grammar: Arc<CompiledGrammar>, ignore_eos: bool) -> Self {
        let next = Next::Known(Arc::clone(grammar.first()));
        Self {
            grammar,
            ignore_eos,
            left: None,
            matcher: None,
            next,
        }
    }

    /// The mask of the next token, which may have to be waited for.
    fn next(&mut self) -> Result<Arc<Mask>, ConstraintError> {
        match &self.next {
            Next::Known(mask) => Ok(Arc::clone(mask)),
            Next::Failed(error) => Err(error.clone()),
            Next::Computed(slot) => {
                let (matcher, mask) = self.grammar.masks().finish(slot);
                self.matcher = matcher;
                self.next = match &mask {
                    Ok(mask) => Next::Known(Arc::clone(mask)),
                    Err(error) => Next::Failed(error.clone()),
                };
                mask
            }
        }
    }
}

impl TokenConstraint for Branch {
    fn allowed(&mut self) -> Result<&[u32], ConstraintError> {
        let mask = self.next()?;
        if self.ignore_eos {
            let ends = self.grammar.eos_token_ids();
            let left = self.left.get_or_insert_with(|| mask.without(ends));
            return Ok(left.words());
        }
        match &self.next {
            Next::Known(mask) => Ok(mask.words()),
            Next::Computed(_) | Next::Failed(_) => unreachable!("its mask was just found"),
        }
    }

    fn is_complete(&self) -> bool {
        matches!(&self.next, Next::Known(mask) if mask.complete)
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.next()?;
        let work = Work {
            matcher: self.matcher.take(),
            grammar: Arc::clone(&self.grammar),
            token,
        };
        self.left = None;
        self.next = Next::Computed(self.grammar.masks().begin(work));
        Ok(())
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        if let Next::Computed(slot) = &self.next {
            slot.abandon();
        }
    }
}
