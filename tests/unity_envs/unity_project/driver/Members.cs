using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Reflection;
using UnityEngine;

/// <summary>
/// Fields and properties by name ("World.Position", "transform.rotation"), where "[NAME]" is another component of the
/// same object; and values as text.
/// </summary>
static class Members
{
    const BindingFlags k_Flags =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;

    /// <summary>Where types are looked for: the stub and the scripts.</summary>
    public static IList<Assembly> Assemblies;

    static readonly Dictionary<string, MemberInfo> s_Found = new Dictionary<string, MemberInfo>();

    public static Type FindType(string name)
    {
        return Assemblies.Select(each => each.GetType(name)).FirstOrDefault(each => each != null)
            ?? throw new ArgumentException("there is no type " + name);
    }

    /// <summary>`target` is an object, or a type for what is static in it.</summary>
    public static object Get(object target, string path)
    {
        foreach (string name in path.Split('.'))
        {
            if (name.StartsWith("[", StringComparison.Ordinal))
            {
                target = ((Component)target).gameObject.Components
                    .Single(each => "[" + each.GetType().Name + "]" == name);
                continue;
            }
            MemberInfo member = Find(target, name);
            object holder = target is Type ? null : target;
            target = member is FieldInfo field ? field.GetValue(holder) : ((PropertyInfo)member).GetValue(holder, null);
        }
        return target;
    }

    public static void Set(object target, string path, IList<string> values)
    {
        int dot = path.LastIndexOf('.');
        if (dot >= 0)
        {
            target = Get(target, path.Substring(0, dot));
        }
        MemberInfo member = Find(target, path.Substring(dot + 1));
        object holder = target is Type ? null : target;
        if (member is FieldInfo field)
        {
            field.SetValue(holder, Parse(field.FieldType, values));
            return;
        }
        var property = (PropertyInfo)member;
        property.SetValue(holder, Parse(property.PropertyType, values), null);
    }

    static MemberInfo Find(object target, string name)
    {
        Type type = target as Type ?? target.GetType();
        string key = type.FullName + "." + name;
        MemberInfo found;
        if (!s_Found.TryGetValue(key, out found))
        {
            found = (MemberInfo)type.GetField(name, k_Flags) ?? type.GetProperty(name, k_Flags)
                ?? throw new ArgumentException(type + " has no field or property " + name);
            s_Found[key] = found;
        }
        return found;
    }

    public static object Parse(Type type, IList<string> values)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        if (type == typeof(Vector3))
        {
            return new Vector3(Single(values[0]), Single(values[1]), Single(values[2]));
        }
        if (type == typeof(Quaternion))
        {
            return new Quaternion(Single(values[0]), Single(values[1]), Single(values[2]), Single(values[3]));
        }
        if (type == typeof(float[]))
        {
            return values.Select(Single).ToArray();
        }
        if (type == typeof(float))
        {
            return Single(values.Single());
        }
        if (type == typeof(double))
        {
            return Double(values.Single());
        }
        if (type == typeof(string))
        {
            return string.Join(" ", values);
        }
        return type.IsEnum
            ? Enum.Parse(type, values.Single())
            : Convert.ChangeType(values.Single(), type, CultureInfo.InvariantCulture);
    }

    /// <summary>A decimal, or x and a double's bits in hexadecimal: Mono reads some decimals a digit off.</summary>
    public static double Double(string text)
    {
        return text.StartsWith("x", StringComparison.Ordinal)
            ? BitConverter.Int64BitsToDouble(long.Parse(text.Substring(1), NumberStyles.HexNumber))
            : double.Parse(text, CultureInfo.InvariantCulture);
    }

    public static float Single(string text) { return (float)Double(text); }

    public static string Format(object value)
    {
        if (value == null)
        {
            return "null";
        }
        if (value is float || value is double)
        {
            double number = Convert.ToDouble(value);
            return "x" + BitConverter.DoubleToInt64Bits(number).ToString("x16");
        }
        if (value is string text)
        {
            return text;
        }
        if (value is Vector3 vector)
        {
            return Format(new[] { vector.x, vector.y, vector.z });
        }
        if (value is Quaternion rotation)
        {
            return Format(new[] { rotation.x, rotation.y, rotation.z, rotation.w });
        }
        if (value is Color color)
        {
            return Format(new[] { color.r, color.g, color.b, color.a });
        }
        if (value is IEnumerable items)
        {
            return string.Join(" ", items.Cast<object>().Select(Format));
        }
        Type type = value.GetType();
        if (type.IsPrimitive || type.IsEnum)
        {
            return Convert.ToString(value, CultureInfo.InvariantCulture);
        }
        var fields = type.GetFields().Select(each => each.Name + "=" + Format(each.GetValue(value)));
        return "{" + string.Join("; ", fields) + "}";
    }
}
