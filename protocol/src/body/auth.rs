// SPDX-License-Identifier: Apache-2.0
//! Users and what they may do (3001 to 3010).

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UserInfo {
    pub password: Option<String>,
    pub user_status: Option<String>,
    pub user_type: Option<String>,
    pub username: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AclInfo {
    pub policies: Option<Vec<PolicyInfo>>,
    pub subject: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyInfo {
    pub entries: Option<Vec<PolicyEntryInfo>>,
    pub policy_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyEntryInfo {
    pub actions: Option<Vec<String>>,
    pub decision: Option<String>,
    pub resource: Option<String>,
    pub source_ips: Option<Vec<String>>,
}
