//! Root certificates of the user's own: what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, besides those compiled in.
//!
//! Both are common in images and on laptops with much in them that nobody looks at, so one certificate that cannot be
//! used is skipped with a warning; a file that was named and cannot be used at all is a mistake.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The largest file that is read, in bytes; all the world's public authorities are a fortieth of it.
const FILE_LIMIT: usize = 8 << 20;

/// The most files of one directory that are read.
const FILES_LIMIT: usize = 10_000;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates that can be used, and what was wrong with the others.
#[derive(Debug, Default)]
pub struct ExtraRoots {
    /// The certificates as PEM, each once; `None`: there are none.
    pub pem: Option<Vec<u8>>,
    /// What was skipped and why, one line for each file or directory.
    pub warnings: Vec<String>,
}

/// Why the file that `SSL_CERT_FILE` names is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read.
    #[error("cannot read the file that SSL_CERT_FILE names, {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has no certificate that can be used.
    #[error(
        "the file that SSL_CERT_FILE names, {path}, holds no usable certificate (expected PEM, `{BEGIN}`)"
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the certificates of a file and of directories.
///
/// # Errors
///
/// A file that cannot be read or has no usable certificate. A directory's faults are warnings.
pub fn read_roots(file: Option<&Path>, directories: &[PathBuf]) -> Result<ExtraRoots, RootsError> {
    let mut found = Found::default();
    if let Some(path) = file {
        let text = read(path).map_err(|source| RootsError::Read {
            path: path.to_owned(),
            source,
        })?;
        found.take(path, &text);
        if found.blocks.is_empty() {
            let path = path.to_owned();
            return Err(RootsError::NoCertificate { path });
        }
    }
    for directory in directories {
        found.take_directory(directory);
    }
    Ok(ExtraRoots {
        pem: (!found.blocks.is_empty()).then(|| found.blocks.into_bytes()),
        warnings: found.warnings,
    })
}

/// The certificates of a PEM text that can be used as roots; `None` where there is none, or a part of it is broken.
#[must_use]
pub fn usable_roots(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem);
    let mut certificates = certificates.collect::<Result<Vec<_>, _>>().ok()?;
    certificates.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    (!certificates.is_empty()).then_some(certificates)
}

#[derive(Default)]
struct Found {
    /// PEM blocks, each with a line break behind it.
    blocks: String,
    known: BTreeSet<Vec<u8>>,
    warnings: Vec<String>,
}

impl Found {
    fn take_directory(&mut self, directory: &Path) {
        let shown = directory.display();
        let mut paths = match fs::read_dir(directory) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .take(FILES_LIMIT)
                .collect::<Vec<_>>(),
            Err(error) => {
                self.warnings.push(format!(
                    "cannot read the directory {shown} (SSL_CERT_DIR): {error}"
                ));
                return;
            }
        };
        paths.sort();
        let known = self.known.len();
        for path in paths {
            // A pipe would never end, and a link may lead nowhere: such things are no certificates, and no fault.
            if !path.is_file() {
                continue;
            }
            match read(&path) {
                Ok(text) => self.take(&path, &text),
                Err(error) => self.warnings.push(format!(
                    "cannot read {} (SSL_CERT_DIR): {error}",
                    path.display()
                )),
            }
        }
        if self.known.len() == known {
            self.warnings.push(format!(
                "the directory {shown} (SSL_CERT_DIR) adds no certificate"
            ));
        }
    }

    /// Takes what can be used of one file.
    fn take(&mut self, path: &Path, text: &str) {
        let mut unusable = Vec::new();
        let mut count = 0;
        for block in blocks(text) {
            count += 1;
            match der(block) {
                Ok(der) => {
                    if self.known.insert(der) {
                        self.blocks.push_str(block);
                        self.blocks.push('\n');
                    }
                }
                Err(why) => unusable.push((count, why)),
            }
        }
        if let Some((number, why)) = unusable.first() {
            self.warnings.push(format!(
                "{} of the {count} certificates in {} cannot be used as roots and are skipped; the first is number \
                 {number}: {why}",
                unusable.len(),
                path.display()
            ));
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let limit = u64::try_from(FILE_LIMIT).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_LIMIT {
        return Err(io::Error::other(format!(
            "it is larger than {FILE_LIMIT} bytes"
        )));
    }
    // What is between certificates may be in any encoding; PEM itself is ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The certificates of a PEM text, each from its first line to its last, or to where the next one begins.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(start, _)| start).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let pieces: Vec<&str> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &text[*start..end])
        .collect();
    pieces.into_iter().map(|piece| match piece.find(END) {
        Some(end) => &piece[..end + END.len()],
        None => piece,
    })
}

/// A certificate that can be used as a root, or why it cannot.
fn der(block: &str) -> Result<Vec<u8>, String> {
    let der = CertificateDer::from_pem_slice(block.as_bytes()).map_err(|_| "broken PEM")?;
    match RootCertStore::empty().add(der.clone()) {
        Ok(()) => Ok(der.to_vec()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::collect::test_keys::{CA_CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY};

    const NOT_X509: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn usable(roots: &ExtraRoots) -> usize {
        let pem = roots.pem.as_deref().unwrap_or_default();
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
            .len()
    }

    fn of_text(text: &str) -> Result<ExtraRoots, RootsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        fs::write(&path, text).unwrap();
        read_roots(Some(&path), &[])
    }

    #[test]
    fn one_bad_certificate_is_skipped_with_a_warning() {
        let cut = &CA_CERTIFICATE[..200];
        let not_base64 = "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n";
        for bad in [NOT_X509, cut, not_base64] {
            for text in [
                format!("{bad}{CA_CERTIFICATE}"),
                format!("# an authority\n{CA_CERTIFICATE}\n\u{fc}\n{bad}"),
            ] {
                let roots = of_text(&text).unwrap();
                assert_eq!(usable(&roots), 1, "{text}");
                assert_eq!(roots.warnings.len(), 1, "{text}");
                let warning = &roots.warnings[0];
                assert!(
                    warning.starts_with("1 of the 2 certificates in /"),
                    "{warning}"
                );
            }
        }
    }

    #[test]
    fn a_file_without_any_is_refused_and_one_that_is_missing_too() {
        for text in ["", "none", CLIENT_KEY, &CA_CERTIFICATE[..100], NOT_X509] {
            let error = of_text(text).unwrap_err();
            assert!(matches!(error, RootsError::NoCertificate { .. }), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none.pem"), folder.path().to_owned()] {
            let error = read_roots(Some(&path), &[]).unwrap_err();
            assert!(matches!(error, RootsError::Read { .. }), "{error}");
        }
        assert!(read_roots(None, &[]).unwrap().pem.is_none());
    }

    #[test]
    fn directories_are_read_and_each_certificate_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for directory in [&one, &two] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(one.join("a.pem"), CA_CERTIFICATE).unwrap();
        fs::write(one.join("b.pem"), NOT_X509).unwrap();
        fs::write(one.join("README"), "no certificate").unwrap();
        fs::create_dir(one.join("java")).unwrap();
        std::os::unix::fs::symlink("a.pem", one.join("0a1b2c.0")).unwrap();
        std::os::unix::fs::symlink("nowhere.pem", one.join("dead.0")).unwrap();
        let both = format!("{CA_CERTIFICATE}{CLIENT_CERTIFICATE}");
        fs::write(two.join("c.pem"), both).unwrap();
        let none = folder.path().join("none");
        let roots = read_roots(None, &[one.clone(), two, none.clone()]).unwrap();
        assert_eq!(usable(&roots), 2);
        assert_eq!(roots.warnings.len(), 2, "{:?}", roots.warnings);
        let bad = one.join("b.pem").display().to_string();
        assert!(roots.warnings[0].contains(&bad), "{:?}", roots.warnings);
        let none = none.display().to_string();
        assert!(roots.warnings[1].contains(&none), "{:?}", roots.warnings);
    }

    #[test]
    fn a_directory_that_adds_nothing_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let roots = read_roots(None, &[folder.path().to_owned()]).unwrap();
        assert!(roots.pem.is_none());
        assert_eq!(roots.warnings.len(), 1);
    }
}
