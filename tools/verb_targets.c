/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis targets: the machines that tamis compiles for, with their levels, lowest first. A default artifact
 * carries those marked with a star and picks the best that the CPU has.
 */
#include "tools/tool.h"

#include "codegen/target.h"

#include <json-c/json.h>
#include <string.h>

static void print_json(void) {
    json_object *list = json_object_new_array();
    const tm_target *target;
    for (size_t i = 0; (target = tm_target_at(i)) != NULL; i++) {
        json_object *item = json_object_new_object();
        json_object *levels = json_object_new_array();
        json_object_object_add(item, "target", json_object_new_string(target->triple));
        for (int k = 0; k < target->level_count; k++)
            json_object_array_add(levels, json_object_new_string(target->levels[k].name));
        json_object_object_add(item, "levels", levels);
        json_object_object_add(item, "default_levels", json_object_new_int(target->default_levels));
        json_object_object_add(item, "host", json_object_new_boolean(target == tm_target_find(NULL)));
        json_object_array_add(list, item);
    }
    puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
    json_object_put(list);
}

int tool_targets_main(tool *tool, int argc, char **argv) {
    if (argc == 1 && strcmp(argv[0], "--json") == 0) {
        print_json();
        return 0;
    }
    if (argc > 0) {
        tool_report(tool, TM_E_USAGE, NULL, "tamis help targets", "unknown argument '%s'", argv[0]);
        return tool_fail(tool);
    }
    const tm_target *target;
    for (size_t i = 0; (target = tm_target_at(i)) != NULL; i++) {
        printf("%s%s\n", target->triple, target == tm_target_find(NULL) ? "  (this machine)" : "");
        for (int k = 0; k < target->level_count; k++) {
            printf("  %c %-17s  ", k < target->default_levels ? '*' : ' ', target->levels[k].name);
            if (target->levels[k].vector_bits > 0)
                printf("vectors of %d bits\n", target->levels[k].vector_bits);
            else
                puts("no vectors");
        }
    }
    puts("\n* in the default artifact; -mcpu=LEVEL[,LEVEL] chooses others");
    return 0;
}
