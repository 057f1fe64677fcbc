"""Texts as the outbox keeps them: compressed with a dictionary of what a message of this device usually says.

A sample of 1.8 KB takes about 0.2 KB. Without the dictionary it would be twice as much, because it is compressed alone:
a sample must stay readable, and go, by itself.
"""

import zlib

# What the outboxes out there were packed with: a change of it makes them unreadable, so it needs a new version of the
# outbox's schema. The ports and values are examples; a name that is not in it costs a few bytes more, nothing else.
_USUAL = b"""\
"thermometer_lost""battery_critical""battery_monitor_lost""sensor_degraded""stuck_sensor""relay_stuck_closed"\
"grid_absent""grid_rejected""relay_fault""relay_chatter""override_left_on""storage_failing""pi_health"\
{"schema":1,"time_ms":1785,"boot_id":"","clock_synchronised":true,"alert":"battery_low","action":"raise",\
"severity":"warning","summary":"Shed battery is low at : relays open, running on battery","details":{"position":"grid",\
"reason":"battery_low","battery_voltage_v":49.}}"no_data""battery_recovered""override""over_temperature"\
"silent""float""absorb""equalize""pass_through""support""charge""search""ac_drop""ac_use"\
"override":"grid","override_is_suppressed":false},"errors":"","warnings":"",\
"extra":"shunt_a_ah","extra":"shunt_b_ah","extra":"shunt_c_ah","extra":"shunt_a_kwh","extra":"shunt_b_kwh",\
"extra":"days_since_full","extra":"todays_net_input_ah","extra":"todays_net_output_ah","extra":"todays_net_input_kwh",\
"extra":"todays_net_output_kwh","extra":"corrected_net_battery_ah","extra":"todays_minimum_soc_percent",\
{"time_ms":1785,"boot_id":"","clock_synchronised":true,"position":"battery","reason":"hold","alerts":[],\
"measures":{"battery_voltage_v":52.0,"battery_voltage_age_s":0.3,"box_temperature_c":22.5,"box_temperature_age_s":0.5,\
"pv_power_w":0.0,"load_power_w":360.0,"soc_percent":62.0,"battery_current_a":-1.0,"next_change_in_s":60.0,\
"battery_low_voltage_v":49.9,"battery_recover_voltage_v":52.0,"over_temperature_trip_c":35.0},\
"inputs":{"battery_voltage_source":"fndc4","box_temperature_source":"28-000005","soc_source":"fndc4",\
"ac_mode":"no_ac","ac_source":"fx1","is_daylight":true},\
"devices":{"fx1":{"battery_voltage_v":52.0,"inverter_current_a":3.0,"charger_current_a":0.0,"buy_current_a":0.0,\
"sell_current_a":0.0,"ac_input_voltage_v":0.0,"ac_output_voltage_v":120.0,"operating_mode":"inverter_on",\
"ac_mode":"no_ac","aux_on":false},\
"mx2":{"battery_voltage_v":52.0,"charger_current_a":0.0,"pv_current_a":0.0,"pv_voltage_v":70.0,"daily_kwh":1.0,\
"daily_ah":0.0,"charger_mode":"bulk","aux_mode":"manual","aux_on":false},\
"fndc4":{"battery_voltage_v":52.0,"shunt_a_current_a":-1.0,"shunt_b_current_a":0.0,"shunt_c_current_a":0.0,\
"soc_percent":62.0,"battery_temperature_c":16.0,"charge_parameters_met":false,"relay_bit_2":false,"relay_bit_4":false,\
"extra":"shunt_b_ah","extra_value":100.0},\
"pi0":{"cpu_temperature_c":48.0,"under_voltage_now":false,"under_voltage_since_boot":false,"throttled_now":false,\
"throttled_since_boot":false,"load_1min":0.1,"memory_available_percent":71.0,"disk_free_percent":61.0,\
"disk_free_bytes":19000000000.0,"uptime_s":4000.0,"wifi_signal_dbm":-64.0,"pages_refused":0,"thermometer_errors":0,\
"samples_dropped":0,"samples_thinned":0,"transitions_dropped":0,"alerts_dropped":0,"messages_quarantined":0}}}"""
_BEST = 9


class PackedError(ValueError):
    """Bytes that are no packed text, or not whole."""


def pack(text: str) -> bytes:
    """`text`, compressed, with a checksum."""
    packer = zlib.compressobj(_BEST, zdict=_USUAL)
    return packer.compress(text.encode()) + packer.flush()


def unpack(packed: bytes) -> str:
    """The text that was packed.

    Raises:
        PackedError: these bytes are not what was packed.
    """
    unpacker = zlib.decompressobj(zdict=_USUAL)
    try:
        text = (unpacker.decompress(packed) + unpacker.flush()).decode()
    except (zlib.error, UnicodeDecodeError) as e:
        raise PackedError(str(e)) from None
    if not unpacker.eof or unpacker.unused_data:
        raise PackedError("not whole")
    return text
