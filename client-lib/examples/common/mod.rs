//! Credentials for the examples: `--creds FILE`, else `FANAL_CREDS`, else `--data DIR`, else
//! `./fanal-data`.

use fanal_client::{Credentials, CredentialsError};

/// The credentials, and the arguments that are left.
pub(crate) fn arguments() -> Result<(Credentials, Vec<String>), CredentialsError> {
    let mut rest = Vec::new();
    let (mut file, mut data) = (std::env::var("FANAL_CREDS").ok(), "fanal-data".to_owned());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--creds" => file = args.next(),
            "--data" => data = args.next().unwrap_or(data),
            _ => rest.push(arg),
        }
    }
    let credentials = match file {
        Some(file) => Credentials::from_file(file)?,
        None => Credentials::from_data_dir(data)?,
    };
    Ok((credentials, rest))
}
