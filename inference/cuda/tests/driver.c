// A driver without GPUs to stand in for NVIDIA's: it answers what the engine asks before it computes, as the macros say.

#include <string.h>

int cuDriverGetVersion(int *version) {
    *version = VERSION;
    return 0;
}

int cuInit(unsigned flags) {
    // CUDA_ERROR_NO_DEVICE of cuda.h.
    return flags != 0 ? 1 : DEVICES == 0 ? 100 : 0;
}

int cuDeviceGetCount(int *count) {
    *count = DEVICES;
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index + 40;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 40 ? "First" : "Second", length);
    return 0;
}

// CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR is 75, that of the minor number 76.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : attribute == 76 ? device - 40 : -1;
    return 0;
}

int cuDeviceTotalMem_v2(unsigned long *bytes, int device) {
    *bytes = 1000ul * device;
    return 0;
}

#ifndef WITHOUT_UUID
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    for (int at = 0; at < 16; at++) uuid[at] = device + at;
    return 0;
}
#endif
