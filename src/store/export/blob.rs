//! Layers as blobs: made once, remembered; a pulled layer keeps the blob it came in.

use std::io::{self, BufWriter, Write as _};

use super::super::content::damaged;
use super::super::layer::{Compression, Compressor, decompress};
use super::super::snapshot::rows;
use crate::base::Digest;
use crate::base::digest::DigestWriter;
use crate::store::{BlobDescriptor, LayerId, Result, Store, StoreError};

/// What to do with a blob that a layer was pulled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Use it.
    Keep,
    /// Compress the layer as asked (`force-compression`): the archive stays the one that was pulled, and with it the
    /// layer's diff ID, as long as its blob is in the content store.
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
        let pulled = info.pulled.as_ref().filter(|it| self.content().has(&it.digest));
        if let Some(known) = rows::compressed(&self.inner.database, layer, &how)?
            && self.content().has(&known.digest)
            && pulled.is_none_or(|it| it.diff_id == known.diff_id)
        {
            return Ok(known);
        }
        let mut ingest = self.content().ingest()?;
        let failed = |error| StoreError::io("compress the layer", self.layer_fs(layer), error);
        let (diff_id, size) = {
            let compressor = Compressor::new(compression, &mut ingest).map_err(failed)?;
            let mut writer = BufWriter::with_capacity(128 << 10, DigestWriter::new(compressor));
            match pulled {
                Some(pulled) => {
                    let mut archive = decompress(self.content().open(&pulled.digest)?).map_err(failed)?;
                    match io::copy(&mut archive, &mut writer) {
                        Ok(_) => {}
                        // Not the kernel's: the decompressor's.
                        Err(error) if error.raw_os_error().is_none() => {
                            self.content().forget(&pulled.digest)?;
                            return Err(damaged(&pulled.digest));
                        }
                        Err(error) => return Err(failed(error)),
                    }
                }
                None => self.write_layer_tar(layer, &mut writer)?,
            }
            let finished = writer.flush().and_then(|()| {
                let (compressor, diff_id, _) =
                    writer.into_inner().map_err(|error| error.into_error())?.finish();
                compressor.finish().map(|ingest| (diff_id, ingest.n_bytes()))
            });
            finished.map_err(failed)?
        };
        match pulled {
            Some(pulled) if pulled.diff_id != diff_id => {
                self.content().forget(&pulled.digest)?;
                return Err(damaged(&pulled.digest));
            }
            Some(_) => {}
            None => self.check_written(layer, &diff_id)?,
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

    /// A layer that was unpacked need not be written as it came; what was written once must be written so again.
    fn check_written(&self, layer: LayerId, diff_id: &Digest) -> Result<()> {
        let info = self.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
        let pulled = info.pulled.map(|it| it.diff_id);
        let known = rows::written_diff_id(&self.inner.database, layer)?.filter(|it| Some(*it) != pulled);
        if known.is_some_and(|it| it != *diff_id) {
            return Err(StoreError::Corrupt {
                what: format!("layer `{layer}`"),
                way_out: "its files are not those that were committed; drop it and build again".to_owned(),
            });
        }
        Ok(())
    }
}
