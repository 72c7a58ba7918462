"Prints the lowest versions that settings.ini declares, as constraints for pip"
import configparser
import re

parser = configparser.ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
for key, line in parser["DEFAULT"].items():
    for name, lowest in re.findall(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) if key.endswith("requirements") else ():
        print(f"{name}=={lowest}")
