//! Layers as blobs: made once, remembered; a pulled layer keeps the blob it came in.

use std::io::{BufWriter, Write as _};

use super::super::layer::{Compression, Compressor};
use super::super::snapshot::rows;
use crate::base::digest::DigestWriter;
use crate::store::{BlobDescriptor, LayerId, Result, Store, StoreError};

/// What to do with a blob that a layer was pulled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Use it.
    Keep,
    /// Compress the layer as asked (`force-compression`).
    Recompress,
}

impl Store {
    /// The layer's blob in the content store, made if needed and remembered.
    ///
    /// With [`Existing::Keep`] a layer that was pulled keeps the blob it came in, whatever its compression; that blob
    /// need not be in the content store (the caller may know it to be at the registry already).
    pub fn blob(
        &self,
        layer: LayerId,
        compression: Compression,
        existing: Existing,
    ) -> Result<BlobDescriptor> {
        let info = self.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
        if let (Existing::Keep, Some(pulled)) = (existing, &info.pulled) {
            return Ok(pulled.clone());
        }
        let how = compression.key();
        if let Some(known) = rows::compressed(&self.inner.database, layer, &how)?
            && self.content().has(&known.digest)
        {
            return Ok(known);
        }
        let mut ingest = self.content().ingest()?;
        let (diff_id, size) = {
            let compressor = Compressor::new(compression, &mut ingest);
            let mut writer = BufWriter::with_capacity(
                128 << 10,
                DigestWriter::new(
                    compressor
                        .map_err(|error| StoreError::io("compress the layer", self.layer_fs(layer), error))?,
                ),
            );
            self.write_layer_tar(layer, &mut writer)?;
            let finished = writer.flush().and_then(|()| {
                let (compressor, diff_id, _) =
                    writer.into_inner().map_err(|error| error.into_error())?.finish();
                compressor.finish().map(|ingest| (diff_id, ingest.n_bytes()))
            });
            finished.map_err(|error| StoreError::io("compress the layer", self.layer_fs(layer), error))?
        };
        // A layer that was unpacked need not be written as it came; what was written once must be written so again.
        if rows::written_diff_id(&self.inner.database, layer)?.is_some_and(|known| known != diff_id) {
            return Err(StoreError::Corrupt {
                what: format!("layer `{layer}`"),
                way_out: "its files are not those that were committed; drop it and build again".to_owned(),
            });
        }
        let digest = ingest.commit(None)?;
        let media_type = compression.media_type().to_owned();
        let blob = BlobDescriptor { media_type, digest, size, diff_id };
        rows::set_compressed(&self.inner.database, layer, &how, &blob)?;
        if info.diff_id.is_none() {
            rows::set_diff_id(&self.inner.database, layer, &diff_id)?;
        }
        Ok(blob)
    }
}
