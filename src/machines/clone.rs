//! A clone to be made of a template: where, with which volumes.

use serde::Serialize;

use crate::scaling::{CloneTemplate, RawObject, raw_json};

#[derive(Serialize)]
struct CreateRequest<'request> {
    config: &'request RawObject,
    region: &'request str,
    skip_launch: bool,
}

/// A clone to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewClone<'create> {
    /// What it is made from.
    pub template: &'create CloneTemplate,
    /// Where it goes.
    pub region: &'create str,
    /// Its volumes in place of the source's: one for each mount, in order.
    pub volumes: &'create [String],
    /// Whether it is not to be started.
    pub skip_launch: bool,
}

impl NewClone<'_> {
    /// The body of its create.
    pub(super) fn body(&self) -> Result<Vec<u8>, String> {
        let (config, mounts) = (self.template.config(), self.template.raw_mounts());
        let write = |config: &RawObject| {
            serde_json::to_vec(&CreateRequest {
                config,
                region: self.region,
                skip_launch: self.skip_launch,
            })
            .map_err(|error| error.to_string())
        };
        if mounts.is_empty() {
            return write(config);
        }
        let mut mounts = mounts.to_vec();
        if mounts.len() != self.volumes.len() {
            return Err(format!(
                "{} mounts need as many volumes, found {}",
                mounts.len(),
                self.volumes.len()
            ));
        }
        for (mount, volume) in mounts.iter_mut().zip(self.volumes) {
            mount.insert("volume".to_owned(), raw_json(volume)?);
        }
        let mut config = config.clone();
        config.insert("mounts".to_owned(), raw_json(&mounts)?);
        write(&config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machines::parse_machines, scaling::MachineConfig};

    fn clone_body(machine: &str, volumes: &[&str]) -> String {
        let listed = parse_machines(format!("[{machine}]").as_bytes()).expect("a valid list");
        let config = listed[0].config.as_ref().expect("a machine with a config");
        let volumes: Vec<String> = volumes.iter().map(|volume| (*volume).to_owned()).collect();
        let template = CloneTemplate::new(config).expect("a clonable config");
        let new = NewClone {
            template: &template,
            region: "ord",
            volumes: &volumes,
            skip_launch: true,
        };
        String::from_utf8(new.body().expect("a body")).expect("JSON is UTF-8")
    }

    #[test]
    fn every_field_number_and_null_is_as_in_the_source() {
        let body = clone_body(
            r#"{"id":"a","state":"started","config":{"image":"registry/x:1","big":12345678901234567890123,
               "float":1e2,"tiny":0.10,"null":null,"new":{"nested":[1.0,{"x":null}]},"env":{"A":"1"},
               "metadata":{"fly_process_group":"app","k":"v"}}}"#,
            &[],
        );
        for kept in [
            r#""big":12345678901234567890123"#,
            r#""float":1e2"#,
            r#""tiny":0.10"#,
            r#""null":null"#,
            r#""new":{"nested":[1.0,{"x":null}]}"#,
            r#""env":{"A":"1"}"#,
            r#""metadata":{"fly_process_group":"app","k":"v"}"#,
            r#""image":"registry/x:1""#,
            r#""skip_launch":true"#,
            r#""region":"ord""#,
        ] {
            assert!(body.contains(kept), "{kept} in {body}");
        }
        assert!(
            !body.contains(r#""name""#) && !body.contains(r#""id""#),
            "{body}"
        );
    }

    #[test]
    fn the_image_is_the_full_reference() {
        let cases = [
            (
                r#"{"registry":"r","repository":"p","tag":"t","digest":"sha256:d"}"#,
                "r/p:t@sha256:d",
            ),
            (
                r#"{"registry":"r","repository":"p","tag":"","digest":"sha256:d"}"#,
                "r/p@sha256:d",
            ),
            (r#"{"registry":"r","repository":"p","tag":"t"}"#, "r/p:t"),
            (r#"{"registry":"r","repository":"p"}"#, "r/p"),
            (r#"{"registry":"","repository":""}"#, "from-config"),
            (r#"{"repository":"p","tag":"t"}"#, "from-config"),
            ("null", "from-config"),
        ];
        for (image, expected) in cases {
            let machine = format!(
                r#"{{"id":"a","state":"started","image_ref":{image},"config":{{"image":"from-config"}}}}"#
            );
            let body = clone_body(&machine, &[]);
            assert!(
                body.contains(&format!(r#""image":"{expected}""#)),
                "{image}: {body}"
            );
        }
    }

    #[test]
    fn what_belongs_to_the_source_alone_is_dropped() {
        let body = clone_body(
            r#"{"id":"a","state":"started","config":{"image":"i","standbys":["b"],
               "env":{"FLY_STANDBY_FOR":"b","KEEP":"1"},
               "metadata":{"fas_protect":"true","fly_bluegreen_deployment_tag":"x",
                           "fly_flyctl_bluegreen_launch_id":"y","fly_process_group":"app"}}}"#,
            &[],
        );
        for dropped in ["standbys", "FLY_STANDBY_FOR", "fas_protect", "bluegreen"] {
            assert!(!body.contains(dropped), "{dropped} in {body}");
        }
        let told = MachineConfig::new(
            r#"{"image":"i","standbys":["b"],"env":{"FLY_STANDBY_FOR":"b","KEEP":"1"},"metadata":{"fas_protect":"true"}}"#,
            None,
        );
        let template = CloneTemplate::new(&told).expect("a valid config");
        let expected = ["standbys", "FLY_STANDBY_FOR", "fas_protect"];
        assert_eq!(template.left_out(), expected, "and it is told");
        assert!(
            body.contains(r#""env":{"KEEP":"1"}"#)
                && body.contains(r#""metadata":{"fly_process_group":"app"}"#)
        );
    }

    #[test]
    fn mounts_get_volumes_of_their_own() {
        let body = clone_body(
            r#"{"id":"a","state":"started","config":{"image":"i","mounts":[
               {"volume":"vol_1","name":"data","path":"/data","size_gb":3.0},{"volume":"vol_2","path":"/more"}]}}"#,
            &["vol_8", "vol_9"],
        );
        assert!(
            body.contains(
                r#""mounts":[{"name":"data","path":"/data","size_gb":3.0,"volume":"vol_8"},{"path":"/more","volume":"vol_9"}]"#
            ),
            "{body}"
        );
    }
}
