//! What a layer's archive hashes to, without keeping the archive.

use std::io::{self, BufWriter, Write as _};

use super::super::snapshot::rows;
use crate::base::Digest;
use crate::base::digest::DigestWriter;
use crate::store::{LayerId, Result, Store, StoreError};

/// Two zero blocks: the archive of a layer without changes.
const EMPTY_ARCHIVE: [u8; 1024] = [0; 1024];

impl Store {
    /// Diff ID of the layer: the digest of its uncompressed archive. Computed once and remembered.
    pub fn diff_id(&self, layer: LayerId) -> Result<Digest> {
        let info = self.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
        if let Some(known) = info.diff_id {
            return Ok(known);
        }
        let diff_id = if info.empty {
            Digest::of(EMPTY_ARCHIVE)
        } else {
            let mut writer = BufWriter::with_capacity(128 << 10, DigestWriter::new(io::sink()));
            self.write_layer_tar(layer, &mut writer)?;
            let finished = writer
                .flush()
                .and_then(|()| writer.into_inner().map_err(std::io::IntoInnerError::into_error));
            let (_, diff_id, _) = finished
                .map_err(|error| StoreError::io("hash the layer", self.layer_fs(layer), error))?
                .finish();
            diff_id
        };
        rows::set_diff_id(&self.inner.database, layer, &diff_id)?;
        Ok(diff_id)
    }
}
