// What settings.h and params.h make of their lists of fields, each of which is a macro that applies F(type,
// name) to every field in order.
#pragma once

#define ANATPASTE_DECLARE_FIELD(type, name) type name;
#define ANATPASTE_COUNT_FIELD(type, name) +1
#define ANATPASTE_NAME_FIELD(type, name) #name,
