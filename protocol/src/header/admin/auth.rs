// SPDX-License-Identifier: Apache-2.0
//! Users and their rights (3001 to 3010).

use crate::header::header;
use crate::str::Str;

header! {
    /// AUTH_CREATE_USER (3001), AUTH_UPDATE_USER (3002), AUTH_DELETE_USER (3003), AUTH_GET_USER (3004).
    pub struct UserRequestHeader {
        "username" => username: Option<Str>,
    }

    /// AUTH_LIST_USER (3005).
    pub struct ListUsersRequestHeader {
        "filter" => filter: Option<Str>,
    }

    /// AUTH_CREATE_ACL (3006), AUTH_UPDATE_ACL (3007), AUTH_DELETE_ACL (3008), AUTH_GET_ACL (3009).
    pub struct AclRequestHeader {
        "subject" => subject: Option<Str>,
        "policyType" => policy_type: Option<Str>,
        "resource" => resource: Option<Str>,
    }

    /// AUTH_LIST_ACL (3010).
    pub struct ListAclsRequestHeader {
        "subjectFilter" => subject_filter: Option<Str>,
        "resourceFilter" => resource_filter: Option<Str>,
    }
}
