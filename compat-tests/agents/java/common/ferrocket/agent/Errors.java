// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/** How a failure is told to the runner: the client's exception, and the response code that the server gave, if one did. */
final class Errors {
    static Map<String, Object> describe(Throwable error) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("type", error.getClass().getSimpleName());
        Integer code = null;
        String remark = null;
        StringBuilder text = new StringBuilder();
        for (Throwable at = error; at != null; at = at.getCause()) {
            if (text.length() > 0) text.append(" <- ");
            text.append(at);
            if (at instanceof MQBrokerException && code == null) {
                code = ((MQBrokerException) at).getResponseCode();
                remark = ((MQBrokerException) at).getErrorMessage();
            } else if (at instanceof MQClientException && code == null && ((MQClientException) at).getResponseCode() > 0) {
                code = ((MQClientException) at).getResponseCode();
                remark = ((MQClientException) at).getErrorMessage();
            }
        }
        if (code != null) out.put("code", code);
        if (remark != null) out.put("remark", remark);
        out.put("text", text.length() > 4000 ? text.substring(0, 4000) : text.toString());
        return out;
    }
}
