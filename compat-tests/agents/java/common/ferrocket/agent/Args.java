// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.Collections;
import java.util.List;
import java.util.Map;

/** The arguments of one request: a JSON object with the type that each reader expects. */
final class Args {
    final Map<String, Object> map;

    Args(Map<String, Object> map) {
        this.map = map;
    }

    boolean has(String key) {
        return map.get(key) != null;
    }

    String text(String key) {
        Object value = map.get(key);
        if (value == null) throw new IllegalArgumentException("missing argument " + key);
        return value.toString();
    }

    String text(String key, String otherwise) {
        return has(key) ? text(key) : otherwise;
    }

    long number(String key) {
        return ((Number) need(key)).longValue();
    }

    long number(String key, long otherwise) {
        return has(key) ? number(key) : otherwise;
    }

    int integer(String key, int otherwise) {
        return (int) number(key, otherwise);
    }

    boolean flag(String key, boolean otherwise) {
        return has(key) ? (Boolean) need(key) : otherwise;
    }

    @SuppressWarnings("unchecked")
    List<Object> list(String key) {
        return has(key) ? (List<Object>) need(key) : Collections.emptyList();
    }

    @SuppressWarnings("unchecked")
    static Args of(Object value) {
        return new Args((Map<String, Object>) value);
    }

    Args object(String key) {
        return has(key) ? of(need(key)) : null;
    }

    private Object need(String key) {
        Object value = map.get(key);
        if (value == null) throw new IllegalArgumentException("missing argument " + key);
        return value;
    }
}
